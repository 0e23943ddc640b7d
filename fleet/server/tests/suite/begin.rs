//! A server that cannot start leaves nothing behind: every port that it had is free again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use lightship_fleet::{Config, Server, StartError};

use crate::site::{Database, on_both_databases};

/// How long a task that was told to end may take to let go of a port.
const PATIENCE: Duration = Duration::from_secs(20);

/// A port of the loopback interface that nobody has.
fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

fn config(folder: &Path, database: Option<String>) -> Config {
    let mut config = Config::in_folder(folder);
    config.database.url = database;
    config.https.listen = free();
    config.http = Some(free());
    config.mqtt.listen = free();
    config.tunnel.listen = Some(free());
    config.tunnel.enrolment = Some(free());
    config
}

async fn refused(config: &Config) -> StartError {
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Server::start(config.clone()).await {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

/// Whether each port can be had, now or in a moment.
async fn all_free(config: &Config) {
    let (https, mqtt) = (config.https.listen, config.mqtt.listen);
    for address in [https, config.http.unwrap(), mqtt] {
        until_bound(address, || TcpListener::bind(address).map(drop)).await;
    }
    for address in [config.tunnel.listen, config.tunnel.enrolment] {
        let address = address.unwrap();
        until_bound(address, || UdpSocket::bind(address).map(drop)).await;
    }
}

async fn until_bound(address: SocketAddr, bind: impl Fn() -> std::io::Result<()>) {
    let end = Instant::now() + PATIENCE;
    while let Err(error) = bind() {
        assert!(Instant::now() < end, "{address}: {error}");
        tokio::task::yield_now().await;
    }
}

on_both_databases! {
    async fn a_port_that_somebody_else_has_stops_the_start_and_everything_begun(database: Database) {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), database.0);
        // What is begun last before each of them is something else.
        type Held = Box<dyn std::any::Any>;
        let tcp = |at| Box::new(TcpListener::bind(at).unwrap()) as Held;
        let udp = |at| Box::new(UdpSocket::bind(at).unwrap()) as Held;
        let https = tcp(config.https.listen);
        assert!(matches!(refused(&config).await, StartError::Listen { address, .. } if address == config.https.listen));
        drop(https);
        all_free(&config).await;
        let http = tcp(config.http.unwrap());
        assert!(matches!(refused(&config).await, StartError::Listen { address, .. } if address == config.http.unwrap()));
        drop(http);
        all_free(&config).await;
        let mqtt = tcp(config.mqtt.listen);
        assert!(matches!(refused(&config).await, StartError::Bus(_)));
        drop(mqtt);
        all_free(&config).await;
        let hub = udp(config.tunnel.listen.unwrap());
        assert!(matches!(refused(&config).await, StartError::Tunnel(_)));
        drop(hub);
        all_free(&config).await;
        let enrolment = udp(config.tunnel.enrolment.unwrap());
        assert!(matches!(refused(&config).await, StartError::Tunnel(_)));
        drop(enrolment);
        all_free(&config).await;
        Server::start(config).await.unwrap().stop().await;
    }

    async fn a_certificate_that_cannot_be_served_stops_the_start_and_everything_begun(database: Database) {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), database.0);
        let (chain, key) = (folder.path().join("chain.pem"), folder.path().join("other.pem"));
        let [one, two] = [(), ()].map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
        std::fs::write(&chain, one.cert.pem()).unwrap();
        std::fs::write(&key, two.signing_key.serialize_pem()).unwrap();
        config.https.certificate = Some(chain.clone());
        assert!(matches!(refused(&config).await, StartError::Certificate(_)), "a certificate without its key");
        all_free(&config).await;
        config.https.key = Some(key.clone());
        assert!(matches!(refused(&config).await, StartError::Certificate(_)), "another one's key");
        all_free(&config).await;
        std::fs::write(&key, "no key").unwrap();
        assert!(matches!(refused(&config).await, StartError::Certificate(_)), "no key at all");
        all_free(&config).await;
        std::fs::write(&key, one.signing_key.serialize_pem()).unwrap();
        config.mqtt.tls_listen = Some(free());
        Server::start(config).await.unwrap().stop().await;
    }
}
