//! Several servers on one PostgreSQL database: one leads, the others take over when it is gone.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use lightship_core::wire::{self, Down};
use lightship_fleet::{Config, Server, StartError};
use reqwest::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::crash::{Acknowledged, Process, Set, check, set_up, work};
use crate::gadget::Gadget;
use crate::site::{Person, Site};

/// How often the server that leads is killed.
const KILLS: u64 = 3;
/// How long a server that stands by may take to lead.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the connection of a server that wants to lead and does not.
const LOSE_WHO_STANDS_BY: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'lightship lead' AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')";

/// A folder of another server: it shares the secret and the blobs, and nothing else.
fn folder_beside(first: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(first.join("secret.key"), folder.path().join("secret.key")).unwrap();
    std::os::unix::fs::symlink(first.join("blobs"), folder.path().join("blobs")).unwrap();
    folder
}

/// An address that nobody else is given meanwhile: below those that connections are made from.
fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let next = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        // Another run of this suite begins elsewhere.
        let port = 20_000 + (std::process::id() * 50 + next) % 10_000;
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// Asks until the server answers so.
async fn until_it_says(person: &Person, path: &str, status: u16) -> String {
    let asked = async {
        loop {
            if let Ok(answer) = person.request(Method::GET, path).send().await
                && answer.status() == status
            {
                return answer.text().await.unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    let said = tokio::time::timeout(PATIENCE, asked).await;
    said.unwrap_or_else(|_| panic!("{path} does not become {status}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_stands_by_and_takes_over_with_the_keys_of_the_first() {
    let database = match crate::postgres::database() {
        Ok(url) => url,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let hub = "127.0.0.1:0".parse().ok();
    let first = Site::start_with(Some(database.clone()), |config| config.tunnel.listen = hub).await;
    let admin = first.admin().await;
    let beside = folder_beside(&first.config.data);
    let mut config = Config::on_free_ports(beside.path());
    config.https.listen = free();
    config.tunnel.listen = hub;
    config.database.url = Some(database.clone());
    let address = config.https.listen;
    let second = tokio::spawn(Server::start(config));
    // What is trusted is the first server's authority: the second one has its key.
    let asks = Person::new(first.client.clone(), format!("https://{address}"), None);
    let asks = asks.with_token(admin.token.as_deref().unwrap());
    let said = until_it_says(&asks, "/health/ready", 503).await;
    assert!(said.contains("this server stands by"), "{said}");
    assert_eq!(asks.status(Method::GET, "/health/live", None).await, 200);
    let fleet = json!({"name": "harbour"});
    let created = asks.send(Method::POST, "/api/v1/fleets", Some(fleet)).await;
    assert_eq!(created.status(), 503);
    assert!(created.headers().contains_key("retry-after"));
    let over = json!({"over_s": 0});
    admin
        .ok(Method::POST, "/api/v1/hub-key/rotate", Some(over))
        .await;
    // It goes on standing by when its connection is lost.
    crate::postgres::run(&database, LOSE_WHO_STANDS_BY);
    let director = admin.ok(Method::GET, "/api/v1/director", None).await;
    let hub_key = admin.ok(Method::GET, "/api/v1/hub-key", None).await;
    first.server.unwrap().stop().await;
    let second = second.await.unwrap().unwrap();
    assert_eq!(asks.status(Method::GET, "/health/ready", None).await, 200);
    assert_eq!(
        asks.ok(Method::GET, "/api/v1/director", None).await,
        director
    );
    assert_eq!(
        asks.ok(Method::GET, "/api/v1/hub-key", None).await,
        hub_key,
        "it answers to the key that devices were told, and to the one before"
    );
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_another_secret_does_not_start_on_the_database() {
    let url = match crate::postgres::database() {
        Ok(url) => url,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let first = Site::start(Some(url.clone())).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::on_free_ports(folder.path());
    config.database.url = Some(url);
    let refused = Server::start(config).await;
    let Err(error @ StartError::Stranger) = refused else {
        panic!("a server with another secret works on the database")
    };
    assert!(error.to_string().contains("copy that file"), "{error}");
    first.server.unwrap().stop().await;
}

/// Two servers of which one works, as processes of their own.
struct Pair {
    url: String,
    folders: [TempDir; 2],
    leads: usize,
    servers: [Option<Process>; 2],
}

impl Pair {
    fn start(url: String) -> Self {
        let first = tempfile::tempdir().unwrap();
        let mut leads = Process::spawn(first.path(), Some(&url), Some(free()));
        leads.serves();
        let second = folder_beside(first.path());
        let stands_by = Process::spawn(second.path(), Some(&url), Some(free()));
        Self {
            url,
            folders: [first, second],
            leads: 0,
            servers: [Some(leads), Some(stands_by)],
        }
    }

    fn leader(&self) -> &Process {
        self.servers[self.leads].as_ref().unwrap()
    }

    /// The one that stood by leads.
    fn took_over(&mut self) -> Option<Process> {
        let former = self.servers[self.leads].take();
        self.leads = 1 - self.leads;
        self.servers[self.leads].as_mut().unwrap().serves();
        former
    }

    fn person(&self, token: Option<String>) -> Person {
        self.leader().person(self.folders[self.leads].path(), token)
    }

    /// SIGKILL to the one that leads; a new one stands by in its folder.
    fn kill(&mut self) {
        let former = self.servers[self.leads].take().unwrap();
        former.kill();
        let gone = self.leads;
        self.took_over();
        let folder = self.folders[gone].path();
        self.servers[gone] = Some(Process::spawn(folder, Some(&self.url), Some(free())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_over_from_a_killed_server_knows_all_that_was_acknowledged() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = match crate::postgres::database() {
        Ok(url) => url,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let mut pair = Pair::start(url);
    let set = set_up(&pair.person(None)).await;
    let (mut known, mut rolled_out) = (Acknowledged::default(), Vec::new());
    for round in 0..KILLS {
        let admin = pair.person(Some(set.token.clone()));
        // Beside the crowd, one device that is at the broker each time.
        let gadget = Gadget::of(&admin, 250);
        assert_eq!(gadget.try_register(&set.key).await, Some(200));
        let (payload, _) = crate::bus::target(pair.leader().mqtt.unwrap(), &gadget).await;
        assert!(matches!(wire::decode_down(&payload), Ok(Down::Target(_))));
        check(&admin, &mut known, &mut rolled_out).await;
        let moment = Duration::from_millis(300 + round * 377 % 900);
        tokio::select! {
            () = work(round, &admin, &set, &mut known, &mut rolled_out) => {}
            () = tokio::time::sleep(moment) => {}
        }
        pair.kill();
    }
    let admin = pair.person(Some(set.token));
    check(&admin, &mut known, &mut rolled_out).await;
    assert!(!known.devices.is_empty() && !known.releases.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_slept_while_another_took_over_writes_nothing_and_ends() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = match crate::postgres::database() {
        Ok(url) => url,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let mut pair = Pair::start(url.clone());
    let Set { token, .. } = set_up(&pair.person(None)).await;
    let sleeper = pair.person(Some(token.clone()));
    pair.leader().signal("STOP");
    // It is asked while it sleeps, and hears it when it wakes up.
    let late = tokio::spawn(async move {
        let fleet = json!({"name": "late"});
        let asked = sleeper.request(Method::POST, "/api/v1/fleets").json(&fleet);
        asked.send().await.map(|answer| answer.status().as_u16())
    });
    crate::postgres::run(
        &url,
        "UPDATE lead SET until = clock_timestamp() - INTERVAL '1 second'",
    );
    let former = pair.took_over().unwrap();
    former.signal("CONT");
    let status = late.await.unwrap();
    assert!(!matches!(status, Ok(200..300)), "{status:?}");
    assert!(!former.ended().success(), "it says that it was superseded");
    let admin = pair.person(Some(token.clone()));
    let late = admin.status(Method::GET, "/api/v1/fleets/late", None);
    assert_eq!(late.await, 404);
    // Started again it stands by, and leads when this one is gone.
    let folder = pair.folders[1 - pair.leads].path();
    pair.servers[1 - pair.leads] = Some(Process::spawn(folder, Some(&url), Some(free())));
    pair.kill();
    let again = pair.person(Some(token));
    let fleet = again.ok(Method::GET, "/api/v1/fleets/harbour", None).await;
    assert_eq!(fleet["name"], "harbour");
}
