//! What others take for the same.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use sqlx::{Connection, Executor};

use crate::crowd::{Crowd, uuid};
use crate::process;

/// Bytes of a target with its signatures and one component.
const TARGET_BYTES: usize = 600;

/// A broker that ends with this.
struct Mosquitto(Child);

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Bytes a connected device, and seconds until each has its retained message; nothing without mosquitto.
pub(crate) async fn mosquitto(devices: u64) -> Option<(f64, f64)> {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let config = folder.path().join("conf");
    let text = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n",
        port.port()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("mosquitto");
    command
        .arg("-c")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Ok(child) = command.spawn() else {
        println!("mosquitto is not installed: nothing to compare with");
        return None;
    };
    let broker = Mosquitto(child);
    let process = broker.0.id().to_string();
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(port).is_err() {
        assert!(Instant::now() < end, "mosquitto does not listen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = process::memory(&process);
    let mut crowd = Crowd::connect(port, devices, false).await;
    let idle = (process::memory(&process) - before) / devices as f64;
    let started = Instant::now();
    publish(port, devices).await;
    crowd.told().await;
    Some((idle, started.elapsed().as_secs_f64()))
}

/// A retained message of its own to each.
async fn publish(broker: SocketAddr, devices: u64) {
    let options = MqttOptions::new("publisher", broker.ip().to_string(), broker.port());
    let (client, mut events) = AsyncClient::new(options, 64);
    tokio::spawn(async move {
        for i in 0..devices {
            let topic = format!("d/{}/target", uuid(i));
            let payload = vec![7; TARGET_BYTES];
            client
                .publish(topic, QoS::AtLeastOnce, true, payload)
                .await
                .unwrap();
        }
    });
    let mut acknowledged = 0;
    while acknowledged < devices {
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.unwrap() {
            acknowledged += 1;
        }
    }
}

/// Microseconds a row, `together` rows in a transaction that is synced.
pub(crate) async fn sqlite(report: &str, rows: u64, together: usize) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("db").display());
    let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
    for setting in [
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "CREATE TABLE devices (uuid TEXT PRIMARY KEY, report TEXT)",
    ] {
        connection.execute(setting).await.unwrap();
    }
    let started = Instant::now();
    let mut written = 0;
    while written < rows {
        let mut tx = connection.begin().await.unwrap();
        for _ in 0..together {
            let query = "INSERT INTO devices (uuid, report) VALUES ($1, $2) ON CONFLICT (uuid) DO UPDATE SET report = excluded.report";
            let query = sqlx::query(query).bind(uuid(written % 1000).to_string());
            query.bind(report).execute(&mut *tx).await.unwrap();
            written += 1;
        }
        tx.commit().await.unwrap();
    }
    started.elapsed().as_secs_f64() * 1e6 / written as f64
}
