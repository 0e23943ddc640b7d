//! What Prometheus reads: in its format, and true.

use std::collections::BTreeMap;

use reqwest::Method;

use crate::gadget::{Gadget, provisioning_key, report};
use crate::publisher::Publisher;
use crate::site::{Person, Site, on_both_databases};

/// The samples by name and labels, of a text whose every line is one of the format's.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let (mut help, mut kind) = (String::new(), String::new());
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, words) = rest.split_once(' ').unwrap();
            assert!(words.ends_with('.'), "{line}");
            help = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, what) = rest.split_once(' ').unwrap();
            assert_eq!(name, help, "HELP stands before TYPE");
            kind = what.to_owned();
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = name.split('{').next().unwrap();
            let family = match kind.as_str() {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|part| family.strip_suffix(part))
                    .unwrap(),
                "counter" => {
                    assert!(family.ends_with("_total"), "{line}");
                    family
                }
                "gauge" => family,
                other => panic!("{other} is no type"),
            };
            assert_eq!(family, help, "a sample stands below its name");
            let is_new = samples
                .insert(name.to_owned(), value.parse().unwrap())
                .is_none();
            assert!(is_new, "{line} is there twice");
        }
    }
    samples
}

/// Each histogram's buckets rise to its count.
fn check_histograms(samples: &BTreeMap<String, f64>) {
    let mut seen = 0;
    for (name, count) in samples {
        let Some((family, labels)) = name.split_once("_count{") else {
            continue;
        };
        let labels = labels.trim_end_matches('}');
        let bucket = |bound: &str| samples[&format!("{family}_bucket{{{labels},le=\"{bound}\"}}")];
        let bounds = ["0.001", "0.005", "0.025", "0.1", "0.5", "2.5", "10", "60"];
        let buckets: Vec<f64> = bounds.iter().map(|bound| bucket(bound)).collect();
        assert!(buckets.is_sorted(), "{name}: {buckets:?}");
        assert_eq!(bucket("+Inf"), *count, "{name}");
        seen += 1;
    }
    assert!(seen > 0, "requests were made");
}

async fn scrape(person: &Person) -> BTreeMap<String, f64> {
    let answer = person.send(Method::GET, "/metrics", None).await;
    let kind = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(kind, "text/plain; version=0.0.4");
    samples(&answer.text().await.unwrap())
}

/// Returns when so many devices are connected.
async fn online(person: &Person, devices: f64) {
    let asked = async {
        while scrape(person).await["lightship_devices_online"] != devices {
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, asked).await.unwrap();
}

on_both_databases! {
    async fn what_is_counted_is_what_happened(site: Site) {
        let admin = site.admin().await;
        let fleet = serde_json::json!({"name": "harbour"});
        admin.ok(Method::POST, "/api/v1/fleets", Some(fleet)).await;
        let key = provisioning_key(&admin, "harbour", 1).await;
        let publisher = Publisher::of(&admin, "harbour").await;
        publisher.upload_root(&admin).await;
        let before = scrape(&admin).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        // Registering again is as good as once.
        assert_eq!(gadget.register(&key).await.status(), 200);
        publisher.push(&admin, "1.0.0", b"image", false).await;
        let (status, tag, _) = gadget.poll("", "", 0).await;
        assert_eq!(status, 200);
        assert_eq!(gadget.poll("", &tag, 0).await.0, 304);
        assert_eq!(gadget.report(&report(1, None)).await, 204);
        let lines = "{\"service\":\"web\",\"line\":\"one\"}\n{\"service\":\"web\",\"line\":\"two\"}";
        let logs = gadget.request(Method::POST, "logs").header("content-type", "application/x-ndjson");
        assert_eq!(logs.body(lines).send().await.unwrap().status(), 204);
        let wrong = Gadget { key: lightship_core::id::ApiKey([9; 32]), ..gadget.clone() };
        assert_eq!(wrong.poll("", "", 0).await.0, 401);
        let connected = crate::bus::target(site.server.as_ref().unwrap().mqtt(), &gadget).await;
        online(&admin, 1.0).await;
        drop(connected);
        online(&admin, 0.0).await;
        let after = scrape(&admin).await;
        check_histograms(&after);
        let grown = |name: &str| after[name] - before[name];
        for (name, by) in [
            ("registrations", 1.0),
            ("polls_unchanged", 1.0),
            ("reports", 1.0),
            ("log_lines", 2.0),
            ("assignments", 1.0),
            ("refused_devices", 1.0),
        ] {
            assert_eq!(grown(&format!("lightship_{name}_total")), by, "{name}");
        }
        let polls = "lightship_http_request_seconds_count{route=\"/device/v1/target\",status=\"304\"}";
        assert_eq!(after[polls], 1.0);
    }
}
