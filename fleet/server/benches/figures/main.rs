//! The fleet server under a fleet: as many devices as the limit of open files allows.
//!
//! Devices are MQTT 5 and HTTP clients that speak the protocol page of lightship-link, in a process
//! of their own; the agent is not among them, for what is weighed here is the server.
//! `LIGHTSHIP_BENCH_DEVICES` sets another number of devices.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails should stop")]
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "parts of the tests are used"
)]

mod crowd;
#[path = "../../tests/suite/gadget.rs"]
mod gadget;
mod peers;
mod process;
#[path = "../../tests/suite/publisher.rs"]
mod publisher;
#[path = "../../tests/suite/site.rs"]
mod site;

use std::time::Instant;

use futures_util::{StreamExt, stream};
use lightship_core::id::{ApiKey, Uuid};
use reqwest::Method;
use serde_json::json;

use crowd::{Crowd, api_key, uuid};
use gadget::{Gadget, provisioning_key, report};
use publisher::Publisher;
use site::{Person, Site};

/// Files that this process opens beside one for each device.
const OTHER_FILES: u64 = 1_000;
/// Requests under way at once.
const TOGETHER: usize = 64;
/// Polls and reports that are timed, at most.
const REQUESTS: u64 = 20_000;
/// And at most so many for each device.
const REQUESTS_EACH: u64 = 20;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if let Some(position) = words.iter().position(|word| word == crowd::WORD) {
        crowd::run(&words[position + 1..]);
        return;
    }
    // Tests of the workspace start every bench target, too.
    if !words.iter().any(|word| word == "--bench") {
        return;
    }
    let devices = std::env::var("LIGHTSHIP_BENCH_DEVICES");
    let devices = devices.map_or_else(|_| as_many_as_may(), |text| text.parse().unwrap());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(all(devices));
}

/// Each device takes a file in this process and one in the other.
fn as_many_as_may() -> u64 {
    let limit = process::open_files();
    let devices = limit.checked_sub(OTHER_FILES).filter(|left| *left > 0);
    let devices = devices.expect("the limit of open files is too low: raise it with `ulimit -n`");
    println!("{limit} files may be open: {devices} devices");
    devices
}

async fn all(devices: u64) {
    let free = "127.0.0.1:0".parse().unwrap();
    let site = Site::start_with(None, |config| {
        config.http = Some(free);
        config.limits.registrations_per_minute = 10_000_000;
        // Nearly all of the files are for devices.
        config.limits.connections = 4 * TOGETHER;
    })
    .await;
    let admin = site.admin().await;
    let fleet = json!({"name": "harbour"});
    admin.ok(Method::POST, "/api/v1/fleets", Some(fleet)).await;
    let publisher = Publisher::of(&admin, "harbour").await;
    publisher.upload_root(&admin).await;
    let http = format!("http://{}", site.server.as_ref().unwrap().http().unwrap());
    let person = Person::new(reqwest::Client::new(), http, None);
    let gadgets: Vec<Gadget> = (0..devices).map(|i| gadget(&person, i)).collect();

    storm(&admin, &gadgets).await;
    fan_out(&site, &admin, &publisher, devices).await;
    polls(&gadgets).await;
    reports(&gadgets).await;
}

fn gadget(person: &Person, i: u64) -> Gadget {
    Gadget {
        person: person.clone(),
        uuid: uuid(i),
        key: ApiKey(api_key(i)),
    }
}

/// How fast devices are let in.
async fn storm(admin: &Person, gadgets: &[Gadget]) {
    let uses = u32::try_from(gadgets.len()).unwrap();
    let key = provisioning_key(admin, "harbour", uses).await;
    let started = Instant::now();
    let all = stream::iter(gadgets).for_each_concurrent(TOGETHER, |gadget| async {
        assert_eq!(gadget.register(&key).await.status(), 200);
    });
    all.await;
    let each = started.elapsed().as_secs_f64() * 1e6 / gadgets.len() as f64;
    println!(
        "registration storm: {} devices, {:.0} a second",
        gadgets.len(),
        1e6 / each
    );
    figure(
        "registration of a device in a storm",
        "us",
        each,
        None,
        None,
    );
}

/// What a connected device costs, and how long it takes until all are told of a release.
async fn fan_out(site: &Site, admin: &Person, publisher: &Publisher, devices: u64) {
    let mqtt = site.server.as_ref().unwrap().mqtt();
    let before = process::memory("self");
    let mut crowd = Crowd::connect(mqtt, devices, true).await;
    let idle = (process::memory("self") - before) / devices as f64;
    let cpu = process::cpu_s("self");
    let started = Instant::now();
    publisher.push(admin, "1.0.0", b"image", false).await;
    crowd.told().await;
    let (took, cpu) = (
        started.elapsed().as_secs_f64(),
        process::cpu_s("self") - cpu,
    );
    drop(crowd);
    let peer = peers::mosquitto(devices).await;
    let (peer_idle, peer_took) = peer.map_or((None, None), |(idle, took)| (Some(idle), Some(took)));
    let name = Some("mosquitto");
    figure(
        "connected idle device, resident memory",
        "B",
        idle,
        peer_idle,
        name,
    );
    let what = format!("a release until {devices} devices are told");
    let budget = 2.0 * devices as f64 / 10_000.0;
    budgeted(&what, took, peer_took, budget);
    figure(&format!("{what}, CPU"), "s", cpu, None, None);
}

/// What a poll costs that is answered from the counter alone.
async fn polls(gadgets: &[Gadget]) {
    let one = async |i: u64| {
        let gadget = &gadgets[usize::try_from(i).unwrap() % gadgets.len()];
        assert_eq!(gadget.poll("", "\"1\"", 0).await.0, 304);
    };
    let each = timed(requests(gadgets), one).await;
    println!("polls: {:.0} a second", 1e6 / each);
    figure(
        "a poll without news, client included",
        "us",
        each,
        None,
        None,
    );
}

/// What storing a report costs, beside storing the same bytes in SQLite with nothing around it.
async fn reports(gadgets: &[Gadget]) {
    let one = async |i: u64| {
        let gadget = &gadgets[usize::try_from(i).unwrap() % gadgets.len()];
        assert_eq!(gadget.report(&report(1, None)).await, 204);
    };
    let each = timed(requests(gadgets), one).await;
    println!("reports: {:.0} a second", 1e6 / each);
    let body = serde_json::to_string(&report(1, None)).unwrap();
    let raw = peers::sqlite(&body, requests(gadgets), TOGETHER).await;
    let name = Some("raw SQLite, as many in a transaction");
    figure(
        "a report stored, client included",
        "us",
        each,
        Some(raw),
        name,
    );
}

fn requests(gadgets: &[Gadget]) -> u64 {
    REQUESTS.min(gadgets.len() as u64 * REQUESTS_EACH)
}

/// Microseconds a request.
async fn timed(requests: u64, one: impl AsyncFn(u64)) -> f64 {
    let started = Instant::now();
    let all = stream::iter(0..requests).for_each_concurrent(TOGETHER, |i| one(i));
    all.await;
    started.elapsed().as_secs_f64() * 1e6 / requests as f64
}

fn figure(name: &str, unit: &str, ours: f64, peer: Option<f64>, peer_name: Option<&str>) {
    let row =
        json!({"name": name, "unit": unit, "ours": ours, "peer": peer, "peer_name": peer_name});
    println!("{row}");
}

fn budgeted(name: &str, ours: f64, peer: Option<f64>, budget: f64) {
    let row = json!({"name": name, "unit": "s", "ours": ours, "peer": peer, "peer_name": "mosquitto", "budget": budget});
    println!("{row}");
}
