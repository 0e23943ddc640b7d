//! Agents in a process of their own.

use std::cell::Cell;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use lightship_core::id::{Digest, ProvisioningKey};
use lightship_core::trust::{Compact, Root, TrustState};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;

use crate::device::{self, Device};
use crate::publisher::Publisher;
use crate::site::Site;

/// What makes the benchmark be the agents.
pub(crate) const WORD: &str = "--agents";
/// Agents that register or connect at the same time.
const TOGETHER: usize = 64;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// The process with the agents; it ends with this.
pub(crate) struct Agents {
    _child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Agents {
    /// Returns when they begin to register.
    pub(crate) async fn start(site: &Site, publisher: &Publisher, key: &str, count: u64) -> Self {
        let at = |name: &str| site.config.data.join(name);
        std::fs::write(at("bench.root"), &publisher.root_document).unwrap();
        let server = site.server.as_ref().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([WORD, &site.url, &server.mqtt().to_string(), key]);
        command
            .args([at("ca.pem"), at("bench.root")])
            .arg(count.to_string());
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut agents = Self {
            _child: child,
            said,
        };
        agents.hear("begun").await;
        agents
    }

    /// Returns when all of them have come so far.
    pub(crate) async fn hear(&mut self, wanted: &str) {
        let line = tokio::time::timeout(PATIENCE, self.said.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("the agents are silent before {wanted}"));
        assert_eq!(line.unwrap().as_deref(), Some(wanted));
    }
}

/// What all of them have in common.
pub(crate) struct Shore {
    pub(crate) url: String,
    pub(crate) authority: Vec<u8>,
    pub(crate) mqtt: SocketAddr,
    pub(crate) key: ProvisioningKey,
    pub(crate) root: Root,
}

/// Is the agents, until it is killed.
pub(crate) fn run(words: &[String]) {
    let [url, mqtt, key, authority, root, count] = words else {
        panic!("an URL, an address, a key, two files and a number");
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let secret: Digest = key.parse().unwrap();
    let root = std::fs::read(root).unwrap();
    let shore = Shore {
        url: url.clone(),
        authority: std::fs::read(authority).unwrap(),
        mqtt: mqtt.parse().unwrap(),
        key: ProvisioningKey(secret.0),
        root: TrustState::first_root(&Compact, &root).unwrap(),
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let local = LocalSet::new();
    local.block_on(&runtime, be(Rc::new(shore), count.parse().unwrap()));
}

async fn be(shore: Rc<Shore>, count: u64) {
    say("begun");
    let mut devices = Vec::new();
    for i in 0..count {
        devices.push(Rc::new(Device::new(i)));
    }
    each(&devices, |device, place, done| {
        let shore = Rc::clone(&shore);
        async move {
            device::register(&shore, &device).await;
            drop(place);
            done.send(()).unwrap();
        }
    })
    .await;
    say("registered");
    let (accepted, mut accepts) = mpsc::unbounded_channel();
    each(&devices, |device, place, done| {
        let (shore, accepted) = (Rc::clone(&shore), accepted.clone());
        let place = Cell::new(Some(place));
        let connected = move || {
            if place.take().is_some() {
                done.send(()).unwrap();
            }
        };
        async move { device::stay(&shore, &device, connected, accepted).await }
    })
    .await;
    say("connected");
    for _ in 0..count {
        accepts.recv().await.unwrap();
    }
    say("accepted");
    std::future::pending::<()>().await;
}

/// Has each device do something, so many at a time; returns when all have said that it is done.
async fn each<F: Future<Output = ()> + 'static>(
    devices: &[Rc<Device>],
    work: impl Fn(Rc<Device>, tokio::sync::OwnedSemaphorePermit, mpsc::UnboundedSender<()>) -> F,
) {
    let places = std::sync::Arc::new(Semaphore::new(TOGETHER));
    let (done, mut dones) = mpsc::unbounded_channel();
    for device in devices {
        let place = std::sync::Arc::clone(&places)
            .acquire_owned()
            .await
            .unwrap();
        tokio::task::spawn_local(work(Rc::clone(device), place, done.clone()));
    }
    for _ in devices {
        dones.recv().await.unwrap();
    }
}

fn say(word: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{word}").unwrap();
    out.flush().unwrap();
}
