//! Proxies of the environment, which a process has for all its life: the test runs itself again with another one.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod fleet;

use std::io::{BufRead, BufReader, Write};
use std::process::Command;

use fleet::device::device;
use lightship_https::host::Config;
use lightship_link::suite::certificate::Authority;
use lightship_link::suite::{credentials, run, soon};
use lightship_link::{Event, Failure, Known, Link, Unreachable};

/// Where an environment names a proxy for https.
const NAMES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

#[test]
fn a_fleet_without_an_address_is_reached_through_a_proxy_or_not_at_all() {
    run(async {
        let authority = Authority::new();
        let config = Config::new("https://fleet.invalid", authority.pem().as_bytes());
        let (mut link, _, _) = device(config.unwrap());
        link.connect(&credentials(1), Known::default());
        let event = soon("an end", link.next()).await;
        let nameless = Event::Down(Failure::Unreachable(Unreachable::Name));
        let is_proxied = NAMES.iter().any(|name| std::env::var_os(name).is_some());
        // The proxy knows the way no better, but it was asked.
        assert!(matches!(event, Event::Down(_)), "{event:?}");
        assert_eq!(event == nameless, !is_proxied, "{event:?}");
    });
}

#[test]
fn a_proxy_of_the_environment_is_asked_for_a_tunnel_and_sees_no_token() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = proxy.local_addr().unwrap();
    let asked = std::thread::spawn(move || {
        let (stream, _) = proxy.accept().unwrap();
        let mut asked = Vec::new();
        for line in BufReader::new(&stream).lines() {
            let line = line.unwrap();
            if line.is_empty() {
                break;
            }
            asked.push(line);
        }
        (&stream)
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        asked
    });
    let test = "a_fleet_without_an_address_is_reached_through_a_proxy_or_not_at_all";
    let mut child = Command::new(std::env::current_exe().unwrap());
    for name in NAMES {
        child.env_remove(name);
    }
    let child = child
        .args(["--exact", test])
        .env("HTTPS_PROXY", format!("http://{address}"))
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}"
    );
    let asked = asked.join().unwrap();
    assert_eq!(asked[0], "CONNECT fleet.invalid:443 HTTP/1.1");
    let is_secret = |line: &String| line.to_lowercase().contains("bearer");
    assert!(!asked.iter().any(is_secret), "{asked:?}");
}
