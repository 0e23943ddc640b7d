//! Bounds on what peers can cause: each is told, and nothing of what went beyond is there afterwards.

use std::net::SocketAddr;

use lightship_core::id::Digest;
use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::gadget::{Gadget, provisioning_key};
use crate::site::{Database, Person, Site, on_both_databases};

async fn harbour(site: &Site) -> (Person, String) {
    let admin = site.admin().await;
    let fleet = json!({"name": "harbour"});
    admin.ok(Method::POST, "/api/v1/fleets", Some(fleet)).await;
    let key = provisioning_key(&admin, "harbour", 9).await;
    (admin, key)
}

on_both_databases! {
    async fn registrations_are_slowed_down_and_told_when_to_come_back(database: Database) {
        let site = Site::start_with(database.0, |config| config.limits.registrations_per_minute = 2).await;
        let (_, key) = harbour(&site).await;
        for seed in [1, 2] {
            Gadget::registered(&site, seed, &key).await;
        }
        let third = Gadget::new(&site, 3).register(&key).await;
        assert_eq!(third.status(), 429);
        let again = third.headers()["retry-after"].to_str().unwrap();
        assert!((1..=60).contains(&again.parse::<u32>().unwrap()), "{again}");
    }

    async fn a_fleet_takes_no_more_devices_than_it_may(database: Database) {
        let site = Site::start_with(database.0, |config| config.limits.devices_per_fleet = 1).await;
        let (admin, key) = harbour(&site).await;
        Gadget::registered(&site, 1, &key).await;
        let second = Gadget::new(&site, 2).register(&key).await;
        assert_eq!(second.status(), 429);
        assert!(second.headers().contains_key("retry-after"));
        let entered = json!({"uuid": "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "device_type": "board"});
        let path = "/api/v1/fleets/harbour/devices";
        let (_, problem) = admin.refused(Method::POST, path, Some(entered)).await;
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("as many devices"),
            "{problem}"
        );
        let devices = admin.ok(Method::GET, path, None).await;
        assert_eq!(devices.as_array().unwrap().len(), 1);
    }

    async fn a_blob_beyond_the_limit_is_refused_and_not_kept(database: Database) {
        let site = Site::start_with(database.0, |config| config.limits.blob_bytes = 4096).await;
        let (admin, _) = harbour(&site).await;
        let huge = vec![7; 8192];
        let digest = format!("sha256:{}", Digest::of(&huge));
        let path = format!("/v2/harbour/blobs/uploads/?digest={digest}");
        let sent = admin.request(Method::POST, &path).body(huge);
        let sent = sent.send().await.unwrap();
        assert_eq!(sent.status(), 413);
        assert!(sent.text().await.unwrap().contains("SIZE_INVALID"));
        let path = format!("/v2/harbour/blobs/{digest}");
        assert_eq!(admin.status(Method::HEAD, &path, None).await, 404);
    }

    async fn one_address_has_no_more_connections_than_it_may(database: Database) {
        let site = Site::start_with(database.0, |config| config.limits.connections_per_address = 4).await;
        let https = site.server.as_ref().unwrap().https();
        let held = silent(https, 4).await;
        let mut fifth = TcpStream::connect(https).await.unwrap();
        let heard = fifth.read(&mut [0]).await;
        assert!(matches!(heard, Ok(0) | Err(_)), "hung up on: {heard:?}");
        drop(held);
        until_served(&site).await;
    }

    async fn who_finds_all_places_taken_waits_for_one(database: Database) {
        let site = Site::start_with(database.0, |config| config.limits.connections = 2).await;
        let held = silent(site.server.as_ref().unwrap().https(), 40).await;
        let nobody = site.nobody();
        let asked = tokio::spawn(async move { nobody.status(Method::GET, "/health/live", None).await });
        drop(held);
        assert_eq!(asked.await.unwrap(), 200);
    }
}

/// Connections on which nothing is said.
async fn silent(address: SocketAddr, many: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..many {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    held
}

/// Returns when a request is answered; that a connection is gone is noticed a moment later.
async fn until_served(site: &Site) {
    while site
        .nobody()
        .request(Method::GET, "/health/live")
        .send()
        .await
        .is_err()
    {
        tokio::task::yield_now().await;
    }
}
