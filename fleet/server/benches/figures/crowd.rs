//! Devices that are connected over MQTT, in a process of their own.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use lightship_core::id::{Digest, Uuid};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{Semaphore, mpsc};

/// What makes the benchmark be the devices.
pub(crate) const WORD: &str = "--crowd";
/// Devices that connect at the same time.
const TOGETHER: usize = 64;
/// Messages of a device that wait for an acknowledgement; it sends none but its subscription.
const IN_FLIGHT: u16 = 4;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// The uuid of a device.
pub(crate) fn uuid(i: u64) -> Uuid {
    let digest = Digest::of(&i.to_le_bytes()).0;
    Uuid::from_random(*digest.first_chunk().unwrap())
}

/// Its API key.
pub(crate) fn api_key(i: u64) -> [u8; 32] {
    Digest::of(format!("key {i}").as_bytes()).0
}

/// The process with the devices; it ends with this.
pub(crate) struct Crowd {
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
}

impl Crowd {
    /// Returns when all are connected and subscribed.
    pub(crate) async fn connect(broker: SocketAddr, devices: u64, with_keys: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([WORD, &broker.to_string(), &devices.to_string()]);
        command.arg(with_keys.to_string());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut crowd = Self { child, said };
        crowd.hear("connected").await;
        crowd
    }

    /// Returns when each has had a target.
    pub(crate) async fn told(&mut self) {
        self.hear("told").await;
    }

    async fn hear(&mut self, wanted: &str) {
        let line = tokio::time::timeout(PATIENCE, self.said.next_line()).await;
        let line = line.expect("the devices are silent").unwrap();
        if line.is_none() {
            let ended = self.child.wait().await.unwrap();
            panic!("the process with the devices ended before it was {wanted}: {ended}");
        }
        assert_eq!(line.as_deref(), Some(wanted));
    }
}

/// Is the devices, until it is killed.
pub(crate) fn run(words: &[String]) {
    let [broker, devices, with_keys] = words else {
        panic!("an address, a number and whether they have keys");
    };
    let (broker, devices) = (broker.parse().unwrap(), devices.parse().unwrap());
    let with_keys = with_keys.parse().unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(be(broker, devices, with_keys));
}

async fn be(broker: SocketAddr, devices: u64, with_keys: bool) {
    let places = Arc::new(Semaphore::new(TOGETHER));
    let (ready, mut readies) = mpsc::unbounded_channel();
    let (told, mut tolds) = mpsc::unbounded_channel();
    for i in 0..devices {
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let (ready, told) = (ready.clone(), told.clone());
        tokio::spawn(device(
            broker,
            i,
            with_keys,
            move || {
                drop(place);
                ready.send(()).unwrap();
            },
            told,
        ));
    }
    for _ in 0..devices {
        readies.recv().await.unwrap();
    }
    say("connected");
    for _ in 0..devices {
        tolds.recv().await.unwrap();
    }
    say("told");
    std::future::pending::<()>().await;
}

fn say(word: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{word}").unwrap();
    out.flush().unwrap();
}

/// One device: connects, subscribes, and counts its first target.
async fn device(
    broker: SocketAddr,
    i: u64,
    with_keys: bool,
    ready: impl FnOnce(),
    told: mpsc::UnboundedSender<()>,
) {
    let uuid = uuid(i).to_string();
    let mut options = MqttOptions::new(&uuid, broker.ip().to_string(), broker.port());
    options
        .set_clean_start(true)
        .set_keep_alive(Duration::from_secs(600))
        // The client makes room for as many at once, and 65,535 take 11 MB.
        .set_outgoing_inflight_upper_limit(IN_FLIGHT)
        .set_connection_timeout(PATIENCE.as_secs());
    if with_keys {
        let key: String = api_key(i)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        options.set_credentials(&uuid, key);
    }
    let (client, mut events) = AsyncClient::new(options, 4);
    let topic = format!("d/{uuid}/target");
    client.subscribe(&topic, QoS::AtLeastOnce).await.unwrap();
    let mut ready = Some(ready);
    let mut told = Some(told);
    loop {
        match events.poll().await.expect("the broker stays") {
            Event::Incoming(Packet::SubAck(_)) => {
                if let Some(ready) = ready.take() {
                    ready();
                }
            }
            Event::Incoming(Packet::Publish(_)) => {
                if let Some(told) = told.take() {
                    told.send(()).unwrap();
                }
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }
}
