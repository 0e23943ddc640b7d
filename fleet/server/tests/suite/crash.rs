//! SIGKILL at any moment of push, registration, rotation and roll-outs: nothing acknowledged is
//! lost, no device is given a lower counter, and the next start needs no repair.

mod staged;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Lines, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use lightship_core::id::{ApiKey, Digest};
use lightship_core::wire::NewKey;
use lightship_fleet::{Config, Handle};
use reqwest::{Certificate, Client, Method};
use serde_json::json;

use staged::Staged;

use crate::gadget::{Gadget, provisioning_key, report};
use crate::publisher::Publisher;
use crate::site::{PASSWORD, Person};

/// What tells this test binary to be a server, and where.
const FOLDER: &str = "LIGHTSHIP_TEST_SERVE";
const DATABASE: &str = "LIGHTSHIP_TEST_DATABASE";
const ADDRESS: &str = "LIGHTSHIP_TEST_ADDRESS";
/// How often the server is killed.
const KILLS: u64 = 8;

/// Not a test of its own: the process that the tests below kill.
#[test]
fn serve_when_asked() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    // As the command line does: builds pull images over TLS.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::on_free_ports(Path::new(&folder));
    config.database.url = std::env::var(DATABASE).ok();
    config.admin.password = Some(PASSWORD.to_owned());
    if let Ok(address) = std::env::var(ADDRESS) {
        config.https.listen = address.parse().unwrap();
        // UDP has ports of its own.
        config.tunnel.listen = Some(config.https.listen);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    // The one who asked holds the other end; without it there is no reason to go on.
    let asked = runtime.spawn_blocking(|| std::io::stdin().read(&mut [0]));
    let ended = async { drop(asked.await) };
    let serving = |server: &Handle| println!("\nserving {} {}", server.url(), server.mqtt());
    let served = runtime.block_on(lightship_fleet::serve(config, ended, serving));
    // The thread that reads standard input would wait for its end.
    runtime.shutdown_background();
    served.unwrap();
}

pub(crate) struct Process {
    child: Child,
    pub(crate) url: String,
    /// Its broker, once it serves.
    pub(crate) mqtt: Option<SocketAddr>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts a server and waits until it serves.
    fn start(folder: &Path, database: Option<&str>) -> Self {
        let mut process = Self::spawn(folder, database, None);
        process.serves();
        process
    }

    /// Starts a server that may have to stand by.
    pub(crate) fn spawn(
        folder: &Path,
        database: Option<&str>,
        address: Option<SocketAddr>,
    ) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["crash::serve_when_asked", "--exact", "--nocapture"])
            .env(FOLDER, folder);
        if let Some(url) = database {
            command.env(DATABASE, url);
        }
        if let Some(address) = address {
            command.env(ADDRESS, address.to_string());
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = address.map(|address| format!("https://{address}"));
        Self {
            child,
            url: url.unwrap_or_default(),
            mqtt: None,
            output,
        }
    }

    /// Returns when it serves.
    pub(crate) fn serves(&mut self) {
        let lines = &mut self.output;
        let said = lines.find_map(|line| line.unwrap().strip_prefix("serving ").map(str::to_owned));
        let said = said.expect("the server starts");
        let (url, mqtt) = said.split_once(' ').unwrap();
        (self.url, self.mqtt) = (url.to_owned(), Some(mqtt.parse().unwrap()));
    }

    pub(crate) fn person(&self, folder: &Path, token: Option<String>) -> Person {
        let authority =
            Certificate::from_pem(&std::fs::read(folder.join("ca.pem")).unwrap()).unwrap();
        let client = Client::builder()
            .tls_certs_only([authority])
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        Person::new(client, self.url.clone(), token)
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// How it ends by itself.
    pub(crate) fn ended(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.args(["-s", name, &self.child.id().to_string()]);
        assert!(kill.status().unwrap().success());
    }
}

/// What the server acknowledged.
#[derive(Default)]
pub(crate) struct Acknowledged {
    /// Devices with the key in use, and one that was accepted but not used yet.
    pub(crate) devices: Vec<(Gadget, Option<ApiKey>)>,
    pub(crate) counters: HashMap<String, u64>,
    pub(crate) releases: Vec<(u64, String)>,
    pub(crate) images: Vec<Vec<u8>>,
    /// Builds by number.
    builds: Vec<u64>,
}

/// Works until the server is gone; what it acknowledged is in `known` and `staged`.
pub(crate) async fn work(
    round: u64,
    admin: &Person,
    set: &Set,
    known: &mut Acknowledged,
    staged: &mut Vec<Staged>,
) {
    tokio::join!(
        work_on_devices(round, admin, set, known),
        staged::roll_out(round, admin, &set.publisher, staged)
    );
}

async fn work_on_devices(
    round: u64,
    admin: &Person,
    Set { publisher, key, .. }: &Set,
    known: &mut Acknowledged,
) -> Option<()> {
    for step in 0u8.. {
        let seed = u8::try_from(known.devices.len()).ok()?.wrapping_add(1);
        let gadget = Gadget::of(&admin.anonymous(), seed);
        if gadget.try_register(key).await? == 200 {
            known.devices.push((gadget, None));
        }
        let image = format!("image {round} {step}").into_bytes();
        let release = publisher
            .try_push(admin, &format!("{round}.{step}"), &image, false)
            .await?;
        known.releases.push((
            release["number"].as_u64()?,
            release["version"].as_str()?.to_owned(),
        ));
        known.images.push(image);
        known.builds.extend(try_build(admin).await?);
        let position = usize::from(step) % known.devices.len();
        let (gadget, pending) = known.devices[position].clone();
        if let Some(next) = pending {
            let used = Gadget {
                key: next,
                ..gadget
            };
            let (status, ..) = used.try_poll("").await?;
            assert_eq!(status, 200);
            known.devices[position] = (used, None);
        } else {
            let next = ApiKey(Digest::of(&[step, seed]).0);
            if gadget.try_propose(NewKey::Api(next)).await? == 200 {
                known.devices[position].1 = Some(next);
            }
        }
        let (gadget, _) = known.devices[position].clone();
        let (_, counter) = gadget.try_poll("").await?;
        known.counters.insert(gadget.uuid.to_string(), counter);
        gadget.try_report(&report(counter, None)).await?;
    }
    None
}

/// The number of a build that was taken in, unless as many wait as may; nothing if the server is gone.
async fn try_build(admin: &Person) -> Option<Option<u64>> {
    let archive = crate::builds::project("scratch");
    let digest = Digest::of(&archive);
    let upload = format!("/v2/harbour/project/blobs/uploads/?digest=sha256:{digest}");
    let sent = admin.request(Method::POST, &upload).body(archive.clone());
    sent.send().await.ok()?;
    let body = crate::builds::request(&archive);
    let asked = admin.request(Method::POST, "/api/v1/fleets/harbour/builds");
    let answer = asked.json(&body).send().await.ok()?;
    if answer.status() != 202 {
        return Some(None);
    }
    let build: serde_json::Value = answer.json().await.ok()?;
    Some(build["number"].as_u64())
}

/// A build that was acknowledged has ended, and says how.
async fn check_build(admin: &Person, number: u64) {
    let path = format!("/api/v1/fleets/harbour/builds/{number}");
    let log = admin.request(Method::GET, &format!("{path}/log"));
    let mut log = log.send().await.unwrap();
    assert_eq!(
        log.status(),
        200,
        "build {number} was acknowledged and is lost"
    );
    let said = Person::hears_the_end(&mut log).await;
    assert!(said.contains("event: ended"), "{said}");
    let build = admin.ok(Method::GET, &path, None).await;
    let error = build["error"].as_str().unwrap_or_default();
    let told = build["state"] == "done" || error.contains("the server was stopped");
    assert!(told, "{build}");
}

pub(crate) async fn check(admin: &Person, known: &mut Acknowledged, rolled_out: &mut [Staged]) {
    staged::check(admin, rolled_out).await;
    let releases = admin
        .ok(Method::GET, "/api/v1/fleets/harbour/releases", None)
        .await;
    for (number, version) in &known.releases {
        let found = releases
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["number"] == *number && one["version"] == version.as_str());
        assert!(found, "release {number} was acknowledged and is lost");
    }
    for image in &known.images {
        let path = format!("/v2/harbour/blobs/sha256:{}", Digest::of(image));
        assert_eq!(
            admin.status(Method::HEAD, &path, None).await,
            200,
            "an image was acknowledged and is lost"
        );
    }
    for number in known.builds.drain(..) {
        check_build(admin, number).await;
    }
    for (gadget, pending) in &mut known.devices {
        gadget.person = admin.anonymous();
        let (mut status, mut counter) = gadget.try_poll("").await.unwrap();
        if status == 401
            && let Some(next) = pending.take()
        {
            // The first use of the new key was cut off after it was stored: now it is the key.
            gadget.key = next;
            (status, counter) = gadget.try_poll("").await.unwrap();
        }
        assert_eq!(
            status, 200,
            "device {} was acknowledged and is lost",
            gadget.uuid
        );
        let before = known
            .counters
            .get(&gadget.uuid.to_string())
            .copied()
            .unwrap_or_default();
        assert!(counter >= before, "counter {counter} after {before}");
        known.counters.insert(gadget.uuid.to_string(), counter);
    }
}

/// What people have made before anything is killed.
pub(crate) struct Set {
    pub(crate) token: String,
    pub(crate) publisher: Publisher,
    pub(crate) key: String,
}

pub(crate) async fn set_up(nobody: &Person) -> Set {
    let login = json!({"name": "admin", "password": PASSWORD});
    let made = nobody
        .ok(Method::POST, "/api/v1/session", Some(login))
        .await;
    let token = made["secret"].as_str().unwrap().to_owned();
    let admin = nobody.with_token(&token);
    let fleet = json!({"name": "harbour"});
    admin.ok(Method::POST, "/api/v1/fleets", Some(fleet)).await;
    let publisher = Publisher::of(&admin, "harbour").await;
    publisher.upload_root(&admin).await;
    let key = provisioning_key(&admin, "harbour", 1_000_000).await;
    staged::a_device_for_each_wave(&admin, &key).await;
    publisher.push(&admin, "0.0", b"first image", false).await;
    Set {
        token,
        publisher,
        key,
    }
}

async fn killed_again_and_again(database: Option<String>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), database.as_deref());
    let set = set_up(&process.person(folder.path(), None)).await;
    let mut known = Acknowledged::default();
    let mut rolled_out = Vec::new();
    for round in 0..KILLS {
        let admin = process.person(folder.path(), Some(set.token.clone()));
        check(&admin, &mut known, &mut rolled_out).await;
        let child = process;
        // The moments are spread over a second and differ from round to round.
        let moment = Duration::from_millis(40 + round * 377 % 900);
        tokio::select! {
            () = work(round, &admin, &set, &mut known, &mut rolled_out) => {}
            () = tokio::time::sleep(moment) => {}
        }
        child.kill();
        process = Process::start(folder.path(), database.as_deref());
    }
    let admin = process.person(folder.path(), Some(set.token));
    check(&admin, &mut known, &mut rolled_out).await;
    assert!(
        !known.devices.is_empty() && !known.releases.is_empty() && !rolled_out.is_empty(),
        "nothing was ever acknowledged"
    );
    process.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_on_sqlite() {
    killed_again_and_again(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_on_postgres() {
    match crate::postgres::database() {
        Ok(url) => killed_again_and_again(Some(url)).await,
        Err(why) => eprintln!("SKIPPED: {why}"),
    }
}
