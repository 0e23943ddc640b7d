//! The fleet server under real agents: lightship-core in lightship-driver, which register over HTTPS
//! and then stay connected over MQTT 5, in a process of their own.
//!
//! What a device does in its own time (signatures are checked, records are kept, reports are sent) is in these
//! figures; those of `lightship-fleet` weigh the server alone, with far more devices.
//! `LIGHTSHIP_BENCH_AGENTS` sets another number of agents.
#![allow(clippy::unwrap_used, reason = "a benchmark that fails should stop")]
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "parts of the server's tests are used"
)]

mod agents;
mod device;
#[path = "../../../server/tests/suite/publisher.rs"]
mod publisher;
#[path = "../../../server/tests/suite/site.rs"]
mod site;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lightship_api::Timestamp;
use reqwest::Method;
use serde_json::json;

use agents::Agents;
use publisher::Publisher;
use site::{Person, Site};

/// Agents, when nobody says how many.
const AGENTS: u64 = 1_000;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if let Some(position) = words.iter().position(|word| word == agents::WORD) {
        agents::run(&words[position + 1..]);
        return;
    }
    // Tests of the workspace start every bench target, too.
    if !words.iter().any(|word| word == "--bench") {
        return;
    }
    let count = std::env::var("LIGHTSHIP_BENCH_AGENTS");
    let count = count.map_or(AGENTS, |text| text.parse().unwrap());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(all(count));
}

async fn all(count: u64) {
    let site = Site::start_with(None, |config| {
        config.limits.registrations_per_minute = 10_000_000;
    })
    .await;
    let admin = site.admin().await;
    let fleet = json!({"name": "harbour"});
    admin.ok(Method::POST, "/api/v1/fleets", Some(fleet)).await;
    let publisher = Publisher::of(&admin, "harbour").await;
    publisher.upload_root(&admin).await;
    let key = provisioning_key(&admin, count).await;
    let mut agents = Agents::start(&site, &publisher, &key, count).await;

    let started = Instant::now();
    agents.hear("registered").await;
    let took = started.elapsed().as_secs_f64();
    figure(
        "registration of an agent over HTTPS, in a storm",
        "us",
        took * 1e6 / count as f64,
    );
    agents.hear("connected").await;
    let started = Instant::now();
    publisher.push(&admin, "1.0.0", b"image", false).await;
    agents.hear("accepted").await;
    let took = started.elapsed().as_secs_f64();
    figure(
        &format!("a release until {count} agents on this machine have accepted it over MQTT"),
        "s",
        took,
    );
    until_all_report(&admin, count).await;
    let took = started.elapsed().as_secs_f64();
    figure(
        &format!("and until what {count} agents report of it is stored"),
        "s",
        took,
    );
}

async fn provisioning_key(admin: &Person, uses: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let tomorrow = now + Duration::from_secs(24 * 3600);
    let tomorrow = Timestamp::from_millis(i64::try_from(tomorrow.as_millis()).unwrap());
    let new = json!({"label": "bench", "max_uses": uses, "expires_at": tomorrow.to_string()});
    let path = "/api/v1/fleets/harbour/provisioning-keys";
    let made = admin.ok(Method::POST, path, Some(new)).await;
    made["secret"].as_str().unwrap().to_owned()
}

/// Waits until the server knows of each device that it tries the release.
async fn until_all_report(admin: &Person, count: u64) {
    loop {
        let (mut after, mut trying) = (String::new(), 0);
        loop {
            let path = format!("/api/v1/fleets/harbour/devices?limit=1000&after={after}");
            let page = admin.ok(Method::GET, &path, None).await;
            let page = page.as_array().unwrap();
            trying += page
                .iter()
                .filter(|device| device["state"] != "empty")
                .count();
            match page.last() {
                Some(last) if page.len() == 1000 => {
                    after = last["uuid"].as_str().unwrap().to_owned()
                }
                Some(_) | None => break,
            }
        }
        if trying as u64 == count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn figure(name: &str, unit: &str, ours: f64) {
    println!("{}", json!({"name": name, "unit": unit, "ours": ours}));
}
