//! SIGKILL at any moment of push, registration, rotation and roll-out: nothing acknowledged is
//! lost, no device is given a lower counter, and the next start needs no repair.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Lines, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use lightship_core::id::{ApiKey, Digest};
use lightship_core::wire::NewKey;
use lightship_fleet::{Config, Server};
use reqwest::{Certificate, Client, Method};
use serde_json::json;

use crate::gadget::{Gadget, provisioning_key, report};
use crate::publisher::Publisher;
use crate::site::{PASSWORD, Person};

/// What tells this test binary to be a server, and where.
const FOLDER: &str = "LIGHTSHIP_TEST_SERVE";
const DATABASE: &str = "LIGHTSHIP_TEST_DATABASE";
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(Server::start(config)).unwrap();
    println!("\nserving {}", server.url());
    // The one who asked holds the other end; without it there is no reason to go on.
    let _ = std::io::stdin().read(&mut [0]);
    runtime.block_on(server.stop());
}

struct Process {
    child: Child,
    url: String,
    /// Held, so that what the server prints goes somewhere.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(folder: &Path, database: Option<&str>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["crash::serve_when_asked", "--exact", "--nocapture"])
            .env(FOLDER, folder);
        if let Some(url) = database {
            command.env(DATABASE, url);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.find_map(|line| line.unwrap().strip_prefix("serving ").map(str::to_owned));
        Self {
            child,
            url: url.expect("the server starts"),
            _output: lines,
        }
    }

    fn person(&self, folder: &Path, token: Option<String>) -> Person {
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
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What the server acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// Devices with the key in use, and one that was accepted but not used yet.
    devices: Vec<(Gadget, Option<ApiKey>)>,
    counters: HashMap<String, u64>,
    releases: Vec<(u64, String)>,
    images: Vec<Vec<u8>>,
    /// Builds by number.
    builds: Vec<u64>,
}

/// Works until the server is gone; what it acknowledged is in `known`.
async fn work(
    round: u64,
    admin: &Person,
    publisher: &Publisher,
    key: &str,
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
            .try_push(admin, &format!("{round}.{step}"), &image)
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

async fn check(admin: &Person, known: &mut Acknowledged) {
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

async fn killed_again_and_again(database: Option<String>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(folder.path(), database.as_deref());
    let nobody = process.person(folder.path(), None);
    let login = json!({"name": "admin", "password": PASSWORD});
    let made = nobody
        .ok(Method::POST, "/api/v1/session", Some(login))
        .await;
    let token = made["secret"].as_str().unwrap().to_owned();
    let admin = process.person(folder.path(), Some(token.clone()));
    admin
        .ok(
            Method::POST,
            "/api/v1/fleets",
            Some(json!({"name": "harbour"})),
        )
        .await;
    let publisher = Publisher::of(&admin, "harbour").await;
    publisher.upload_root(&admin).await;
    let key = provisioning_key(&admin, "harbour", 1_000_000).await;
    publisher.push(&admin, "0.0", b"first image", false).await;
    let mut known = Acknowledged::default();
    for round in 0..KILLS {
        let admin = process.person(folder.path(), Some(token.clone()));
        check(&admin, &mut known).await;
        let child = process;
        // The moments are spread over a second and differ from round to round.
        let moment = Duration::from_millis(40 + round * 377 % 900);
        tokio::select! {
            _ = work(round, &admin, &publisher, &key, &mut known) => {}
            () = tokio::time::sleep(moment) => {}
        }
        child.kill();
        process = Process::start(folder.path(), database.as_deref());
    }
    check(&process.person(folder.path(), Some(token)), &mut known).await;
    assert!(
        !known.devices.is_empty() && !known.releases.is_empty(),
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
