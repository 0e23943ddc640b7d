//! Devices: how they come in, what they are told, how their keys change.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lightship_core::id::{ApiKey, Digest, Uuid};
use lightship_core::trust::{Codec as _, Compact, Envelope, Trust, TrustState};
use lightship_core::wire::NewKey;
use reqwest::Method;
use serde_json::{Value, json};

use crate::gadget::{Gadget, provisioning_key, report};
use crate::publisher::Publisher;
use crate::site::{Person, Site, on_both_databases};

async fn fleet(site: &Site, name: &str) -> Person {
    let admin = site.admin().await;
    admin
        .ok(Method::POST, "/api/v1/fleets", Some(json!({"name": name})))
        .await;
    admin
}

async fn refusal(gadget: &Gadget, key: &str) -> (u16, String) {
    let answer = gadget.register(key).await;
    let status = answer.status().as_u16();
    let problem: Value = answer.json().await.unwrap();
    (
        status,
        problem["refused"]["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    )
}

/// What a device concludes from a target, by the core's own judgement.
fn judged(
    publisher: &Publisher,
    uuid: Uuid,
    told: &Value,
    state: Option<TrustState>,
) -> (u64, Digest, TrustState) {
    let bytes = |name: &str| {
        STANDARD
            .decode(told["target"][name].as_str().unwrap())
            .unwrap()
    };
    let (assignment, release) = (bytes("assignment"), bytes("release"));
    let state = state.unwrap_or_else(|| TrustState::new(publisher.root.clone()));
    let (product, device_type) = (publisher.fleet.parse().unwrap(), "board".parse().unwrap());
    let trust = Trust {
        codec: Compact,
        device: uuid,
        product: &product,
        device_type: &device_type,
        state: &state,
        clock: None,
    };
    let accepted = trust.accept_target::<4>(&assignment, &release).unwrap();
    (
        accepted.state.counter,
        Digest::of(Envelope::open(&release).unwrap().payload),
        accepted.state,
    )
}

/// The attempt that an assignment names, and whether locks are overridden.
fn asked(told: &Value) -> (u32, bool) {
    let bytes = STANDARD
        .decode(told["target"]["assignment"].as_str().unwrap())
        .unwrap();
    let envelope = Envelope::open(&bytes).unwrap();
    let assignment = Compact.assignment::<4>(envelope.payload).unwrap();
    (assignment.head.attempt, assignment.head.override_locks)
}

/// A window of one minute that is half a day away, where it is five and a half hours later than in Greenwich.
fn shut_window() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let minute = (now.as_secs() / 60 + 330 + 720) % 1440;
    let clock = |minute: u64| format!("{:02}:{:02}", minute / 60 % 24, minute % 60);
    format!("daily {}-{}", clock(minute), clock(minute + 1))
}

on_both_databases! {
    async fn registering_twice_is_as_good_as_once(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let key = provisioning_key(&admin, "harbour", 1).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        assert_eq!(gadget.register(&key).await.status(), 200, "although the key is used up");
        site.restart().await;
        assert_eq!(gadget.at(&site).register(&key).await.status(), 200);
        let keys = site.admin().await.ok(Method::GET, "/api/v1/fleets/harbour/provisioning-keys", None).await;
        assert_eq!(keys[0]["uses"], 1);
        assert_eq!(gadget.at(&site).poll("root=1&command=0", "", 0).await.0, 304);
    }

    async fn a_provisioning_key_lets_in_as_many_as_it_says_while_it_lasts(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let key = provisioning_key(&admin, "harbour", 1).await;
        let bad = (403, "bad_provisioning_key".to_owned());
        assert_eq!(refusal(&Gadget::new(&site, 9), &"00".repeat(32)).await, bad);
        Gadget::registered(&site, 1, &key).await;
        assert_eq!(refusal(&Gadget::new(&site, 2), &key).await, bad);
        let key = provisioning_key(&admin, "harbour", 5).await;
        let keys = admin.ok(Method::GET, "/api/v1/fleets/harbour/provisioning-keys", None).await;
        let id = keys.as_array().unwrap().iter().find(|key| key["max_uses"] == 5).unwrap()["id"].as_str().unwrap();
        admin.ok(Method::DELETE, &format!("/api/v1/fleets/harbour/provisioning-keys/{id}"), None).await;
        assert_eq!(refusal(&Gadget::new(&site, 2), &key).await, bad);
    }

    async fn an_identity_is_taken_by_whoever_came_first(site: Site) {
        let admin = fleet(&site, "harbour").await;
        fleet(&site, "ferry").await;
        let (here, there) = (provisioning_key(&admin, "harbour", 9).await, provisioning_key(&admin, "ferry", 9).await);
        let first = Gadget::registered(&site, 1, &here).await;
        let thief = Gadget { key: ApiKey([7; 32]), ..first.clone() };
        assert_eq!(refusal(&thief, &here).await, (409, "identity_taken".to_owned()));
        let elsewhere = refusal(&thief, &there).await;
        assert_eq!(elsewhere, (403, "bad_provisioning_key".to_owned()), "another fleet's device is not spoken of");
        assert_eq!(first.poll("root=1", "", 0).await.0, 304);
        assert_eq!(thief.poll("root=1", "", 0).await.0, 401);
    }

    async fn a_device_that_was_entered_before_keeps_its_name(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let key = provisioning_key(&admin, "harbour", 1).await;
        let gadget = Gadget::new(&site, 1);
        let new = json!({"uuid": gadget.uuid.to_string(), "name": "crane 3", "device_type": "board", "tags": {"quay": "7"}});
        admin.ok(Method::POST, "/api/v1/fleets/harbour/devices", Some(new)).await;
        assert_eq!(gadget.register(&key).await.status(), 200);
        let shown = admin.ok(Method::GET, &format!("/api/v1/fleets/harbour/devices/{}", gadget.uuid), None).await;
        assert_eq!((shown["name"].as_str(), shown["tags"]["quay"].as_str()), (Some("crane 3"), Some("7")));
        assert!(shown["registered_at"].is_string());
    }

    async fn the_old_key_is_good_until_the_new_one_was_used_once(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let key = provisioning_key(&admin, "harbour", 1).await;
        let old = Gadget::registered(&site, 1, &key).await;
        let new = Gadget { key: ApiKey([9; 32]), ..old.clone() };
        assert_eq!(new.poll("", "", 0).await.0, 401);
        let accepted: Value = old.propose(NewKey::Api(new.key)).await.json().await.unwrap();
        assert_eq!(accepted["key_accepted"]["kind"], "api");
        assert_eq!(old.poll("", "", 0).await.0, 304);
        site.restart().await;
        let (old, new) = (old.at(&site), new.at(&site));
        assert_eq!(old.poll("", "", 0).await.0, 304, "a restart between the two changes nothing");
        assert_eq!(new.poll("", "", 0).await.0, 304);
        assert_eq!(old.poll("", "", 0).await.0, 401);
        site.restart().await;
        assert_eq!(old.at(&site).poll("", "", 0).await.0, 401);
        assert_eq!(new.at(&site).poll("", "", 0).await.0, 304);
    }

    async fn a_release_reaches_the_device_that_waits_and_the_device_believes_it(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let publisher = Publisher::of(&admin, "harbour").await;
        publisher.upload_root(&admin).await;
        let key = provisioning_key(&admin, "harbour", 1).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        let (waiting, release) = tokio::join!(gadget.poll("root=1", "", 60), publisher.push(&admin, "1.0.0", b"image one", false));
        let (status, tag, told) = waiting;
        assert_eq!((status, release["number"].as_u64()), (200, Some(1)));
        let (counter, digest, state) = judged(&publisher, gadget.uuid, &told, None);
        assert_eq!(tag, format!("\"{counter}\""));
        assert_eq!(release["documents"][0]["digest"], digest.to_string());
        assert_eq!(gadget.poll("root=1", &tag, 0).await.0, 304, "it has had that");
        assert_eq!(gadget.report(&report(counter, Some(digest))).await, 204);
        let shown = admin.ok(Method::GET, &format!("/api/v1/fleets/harbour/devices/{}", gadget.uuid), None).await;
        assert_eq!((shown["state"].as_str(), shown["target"].as_u64()), (Some("committed"), Some(1)));
        publisher.push(&admin, "1.1.0", b"image two", false).await;
        site.restart().await;
        let (status, _, told) = gadget.at(&site).poll("root=1", &tag, 0).await;
        assert_eq!(status, 200);
        let (next, digest, _) = judged(&publisher, gadget.uuid, &told, Some(state));
        assert!(next > counter);
        let image = gadget.at(&site).request(Method::GET, &format!("blobs/{}", Digest::of(b"image two")));
        let part = image.header("range", "bytes=6-").send().await.unwrap();
        assert_eq!((part.status().as_u16(), part.bytes().await.unwrap().as_ref()), (206, b"two".as_ref()));
        assert_ne!(release["documents"][0]["digest"], digest.to_string());
    }

    async fn a_pinned_device_stays_and_a_draft_goes_to_no_other(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let publisher = Publisher::of(&admin, "harbour").await;
        publisher.upload_root(&admin).await;
        let key = provisioning_key(&admin, "harbour", 2).await;
        let (one, two) = (Gadget::registered(&site, 1, &key).await, Gadget::registered(&site, 2, &key).await);
        publisher.push(&admin, "1.0.0", b"image one", false).await;
        publisher.push(&admin, "2.0.0", b"image two", true).await;
        let device = |gadget: &Gadget| format!("/api/v1/fleets/harbour/devices/{}", gadget.uuid);
        admin.ok(Method::PUT, &format!("{}/pin", device(&one)), Some(json!({"release": 2}))).await;
        assert_eq!(admin.ok(Method::GET, &device(&one), None).await["target"], 2);
        assert_eq!(admin.ok(Method::GET, &device(&two), None).await["target"], 1);
        let why = json!({"reason": "it eats batteries"});
        admin.ok(Method::POST, "/api/v1/fleets/harbour/releases/2/invalidate", Some(why)).await;
        let shown = admin.ok(Method::GET, "/api/v1/fleets/harbour/releases/2", None).await;
        assert_eq!((shown["state"].as_str(), shown["reason"].as_str()), (Some("invalid"), Some("it eats batteries")));
        assert_eq!(admin.status(Method::POST, "/api/v1/fleets/harbour/releases/2/finalize", None).await, 409);
    }

    async fn a_release_that_a_device_would_refuse_is_refused_before_it_is_stored(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let mut publisher = Publisher::of(&admin, "harbour").await;
        let path = "/api/v1/fleets/harbour/releases";
        let body = |document: &[u8]| Some(json!({"documents": [STANDARD.encode(document)]}));
        let unsigned = publisher.firmware("1.0.0", b"image", "board");
        assert_eq!(admin.refused(Method::POST, path, body(&unsigned)).await.0, 409, "without a root");
        publisher.upload_root(&admin).await;
        let (_, problem) = admin.refused(Method::POST, path, body(&unsigned)).await;
        assert!(problem["detail"].as_str().unwrap().contains("was not uploaded"), "{problem}");
        let mut forged = unsigned.clone();
        *forged.last_mut().unwrap() ^= 1;
        let (_, problem) = admin.refused(Method::POST, path, body(&forged)).await;
        assert!(problem["detail"].as_str().unwrap().contains("UnderThreshold"), "{problem}");
        publisher.fleet = "ferry".to_owned();
        let other = publisher.firmware("1.0.0", b"image", "board");
        let (_, problem) = admin.refused(Method::POST, path, body(&other)).await;
        assert!(problem["detail"].as_str().unwrap().contains("not of this fleet"), "{problem}");
        assert_eq!(admin.ok(Method::GET, path, None).await, json!([]));
    }

    async fn roots_go_up_one_by_one_and_devices_hear_of_the_next(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let mut publisher = Publisher::of(&admin, "harbour").await;
        publisher.upload_root(&admin).await;
        let key = provisioning_key(&admin, "harbour", 1).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        assert_eq!(gadget.poll("root=1", "", 0).await.0, 304);
        publisher.next_root();
        publisher.upload_root(&admin).await;
        let again = json!({"document": STANDARD.encode(&publisher.root_document)});
        let (status, problem) = admin.refused(Method::POST, "/api/v1/fleets/harbour/roots", Some(again)).await;
        assert_eq!((status.as_u16(), problem["field"].as_str()), (422, Some("document")));
        let (status, tag, told) = gadget.poll("root=1", "", 0).await;
        assert_eq!((status, tag.as_str()), (200, "\"root-2\""));
        assert_eq!(told["root"]["document"], STANDARD.encode(&publisher.root_document));
        assert_eq!(gadget.poll("root=2", "", 0).await.0, 304);
    }

    async fn a_command_is_told_until_it_is_acknowledged(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let key = provisioning_key(&admin, "harbour", 1).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        let path = format!("/api/v1/fleets/harbour/devices/{}/commands", gadget.uuid);
        admin.ok(Method::POST, &path, Some(json!({"command": "identify"}))).await;
        admin.ok(Method::POST, &path, Some(json!({"command": "reboot"}))).await;
        let (status, tag, told) = gadget.poll("command=0", "", 0).await;
        assert_eq!((status, tag.as_str(), told["command"]["order"].as_str()), (200, "\"command-1\"", Some("identify")));
        site.restart().await;
        let gadget = gadget.at(&site);
        assert_eq!(gadget.poll("command=1", "", 0).await.2["command"]["order"], "reboot");
        assert_eq!(gadget.poll("command=2", "", 0).await.0, 304);
        assert_eq!(site.admin().await.status(Method::POST, &path, Some(json!({"command": "explode"}))).await, 422);
    }

    async fn logs_are_stored_and_followed(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let key = provisioning_key(&admin, "harbour", 1).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        let send = async |text: &str| {
            let request = gadget.request(Method::POST, "logs").header("content-type", "application/x-ndjson");
            request.body(text.to_owned()).send().await.unwrap().status().as_u16()
        };
        assert_eq!(send("{\"service\":\"web\",\"line\":\"one\"}\n{\"service\":\"db\",\"stream\":\"err\",\"line\":\"two\"}\n").await, 204);
        assert_eq!(send("{\"service\":\"../web\",\"line\":\"one\"}").await, 422);
        let path = format!("/api/v1/fleets/harbour/devices/{}/logs", gadget.uuid);
        let lines = admin.ok(Method::GET, &path, None).await;
        let told: Vec<_> = lines.as_array().unwrap().iter().map(|line| line["line"].as_str().unwrap()).collect();
        assert_eq!(told, ["one", "two"]);
        let mut follow = admin.request(Method::GET, &format!("{path}?follow=true&service=db")).send().await.unwrap();
        send("{\"service\":\"db\",\"line\":\"three\"}").await;
        let mut heard = String::new();
        while !heard.contains("three") {
            heard += std::str::from_utf8(&follow.chunk().await.unwrap().unwrap()).unwrap();
        }
        assert!(heard.contains("two") && !heard.contains("one"), "{heard}");
    }

    async fn metrics_are_shown_with_the_device(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let key = provisioning_key(&admin, "harbour", 1).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        let mut events = admin.request(Method::GET, "/api/v1/fleets/harbour/events").send().await.unwrap();
        let send = async |metrics: Value| {
            let answer = gadget.request(Method::POST, "metrics").json(&metrics).send().await.unwrap();
            let status = answer.status().as_u16();
            (status, serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap_or_default()["field"].clone())
        };
        let metrics = json!({"agent": "0.1.0", "kernel": "6.1.0", "cpu_percent": 25.5, "temperature_c": -4, "memory_used_bytes": 1, "unheard_of": 1});
        assert_eq!(send(metrics).await.0, 204);
        assert_eq!(send(json!({"cpu_percent": 3, "disk_used_bytes": 7, "disk_total_bytes": 9, "memory_total_bytes": 2, "uptime_s": 60})).await.0, 204);
        let shown = admin.ok(Method::GET, &format!("/api/v1/fleets/harbour/devices/{}", gadget.uuid), None).await;
        let kept = json!({"agent": "0.1.0", "kernel": "6.1.0", "cpu_percent": 3.0, "temperature_c": -4.0, "memory_used_bytes": 1, "memory_total_bytes": 2, "disk_used_bytes": 7, "disk_total_bytes": 9, "uptime_s": 60});
        assert_eq!(shown["metrics"], kept);
        assert!(shown["metrics_at"].is_string() && shown["online"] == true, "{shown}");
        for (bad, field) in [
            (json!({"cpu_percent": 101}), "cpu_percent"),
            (json!({"temperature_c": -300}), "temperature_c"),
            (json!({"uptime_s": -1}), "uptime_s"),
            (json!({"agent": "x".repeat(129)}), "agent"),
            (json!({"kernel": "\u{1b}[2J"}), "kernel"),
        ] {
            assert_eq!(send(bad).await, (422, json!(field)));
        }
        let mut heard = String::new();
        while !heard.contains("event: metrics") {
            heard += std::str::from_utf8(&events.chunk().await.unwrap().unwrap()).unwrap();
        }
        assert!(heard.contains(&gadget.uuid.to_string()), "{heard}");
    }

    async fn a_rejected_release_is_tried_again_when_a_person_asks(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let publisher = Publisher::of(&admin, "harbour").await;
        publisher.upload_root(&admin).await;
        let key = provisioning_key(&admin, "harbour", 1).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        publisher.push(&admin, "1.0.0", b"image", false).await;
        let (_, first, told) = gadget.poll("", "", 0).await;
        assert_eq!(asked(&told), (0, false));
        let path = format!("/api/v1/fleets/harbour/devices/{}", gadget.uuid);
        admin.ok(Method::POST, &format!("{path}/retry"), None).await;
        let (status, second, told) = gadget.poll("", &first, 0).await;
        assert_eq!(status, 200, "it is told again");
        assert_eq!(asked(&told), (1, false));
        admin.ok(Method::PUT, &format!("{path}/locks"), Some(json!({"overridden": true}))).await;
        let (_, third, told) = gadget.poll("", &second, 0).await;
        assert_eq!(asked(&told), (1, true));
        assert_eq!((first.as_str(), second.as_str(), third.as_str()), ("\"1\"", "\"2\"", "\"3\""));
        let changes = admin.ok(Method::GET, "/api/v1/fleets/harbour/changes?limit=2", None).await;
        assert_eq!((&changes["changes"][0]["what"], &changes["changes"][1]["what"]), (&json!("device.locks"), &json!("device.retried")));
    }

    async fn a_window_that_is_shut_holds_an_update_back(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let publisher = Publisher::of(&admin, "harbour").await;
        publisher.upload_root(&admin).await;
        let key = provisioning_key(&admin, "harbour", 2).await;
        let (kept, free) = (Gadget::registered(&site, 1, &key).await, Gadget::registered(&site, 2, &key).await);
        publisher.push(&admin, "1.0.0", b"image", false).await;
        for gadget in [&kept, &free] {
            assert_eq!(gadget.report(&report(1, None)).await, 204);
        }
        let shut = shut_window();
        let set = json!({"windows": [shut], "zone": "Asia/Kolkata"});
        let shown = admin.ok(Method::PATCH, "/api/v1/fleets/harbour", Some(set)).await;
        assert_eq!((&shown["windows"][0], &shown["zone"]), (&json!(shut), &json!("Asia/Kolkata")));
        let path = format!("/api/v1/fleets/harbour/devices/{}", free.uuid);
        let own = admin.ok(Method::PATCH, &path, Some(json!({"windows": []}))).await;
        assert_eq!(own["windows"], json!([]));
        publisher.push(&admin, "2.0.0", b"newer image", false).await;
        let target = async |gadget: &Gadget| admin.ok(Method::GET, &format!("/api/v1/fleets/harbour/devices/{}", gadget.uuid), None).await["target"].clone();
        assert_eq!((target(&kept).await, target(&free).await), (json!(1), json!(2)));
        site.restart().await;
        let admin = site.admin().await;
        let held = admin.ok(Method::GET, &format!("/api/v1/fleets/harbour/devices/{}", kept.uuid), None).await;
        assert_eq!(held["target"], 1, "a restart opens no window");
        admin.ok(Method::PATCH, "/api/v1/fleets/harbour", Some(json!({"windows": []}))).await;
        let let_go = admin.ok(Method::GET, &format!("/api/v1/fleets/harbour/devices/{}", kept.uuid), None).await;
        assert_eq!(let_go["target"], 2);
        for (bad, field) in [
            (json!({"windows": ["daily 02:00-05:00", "someday"]}), "windows[1]"),
            (json!({"windows": vec!["daily 02:00-05:00"; 9]}), "windows"),
            (json!({"zone": "Atlantis/Centre"}), "zone"),
            (json!({"policy": {"follow": "pinned", "release": 77}}), "policy.release"),
        ] {
            let (status, problem) = admin.refused(Method::PATCH, "/api/v1/fleets/harbour", Some(bad)).await;
            assert_eq!((status.as_u16(), &problem["field"]), (422, &json!(field)));
        }
    }

    async fn a_fleet_is_pinned_and_let_go_at_once(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let publisher = Publisher::of(&admin, "harbour").await;
        publisher.upload_root(&admin).await;
        let key = provisioning_key(&admin, "harbour", 1).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        publisher.push(&admin, "1.0.0", b"image", false).await;
        publisher.push(&admin, "2.0.0", b"newer image", false).await;
        let target = async || admin.ok(Method::GET, &format!("/api/v1/fleets/harbour/devices/{}", gadget.uuid), None).await["target"].clone();
        assert_eq!(target().await, 2);
        admin.ok(Method::PATCH, "/api/v1/fleets/harbour", Some(json!({"policy": {"follow": "pinned", "release": 1}}))).await;
        assert_eq!(target().await, 1, "without a restart");
        admin.ok(Method::PATCH, "/api/v1/fleets/harbour", Some(json!({"policy": {"follow": "latest"}}))).await;
        assert_eq!(target().await, 2);
    }

    async fn a_whole_fleet_gets_new_keys_and_who_is_away_is_asked_later(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let key = provisioning_key(&admin, "harbour", 2).await;
        let mut here = Gadget::registered(&site, 1, &key).await;
        Gadget::registered(&site, 2, &key).await;
        here.poll("", "", 0).await;
        let planned = admin.ok(Method::POST, "/api/v1/fleets/harbour/rotate-keys", Some(json!({"over_s": 0}))).await;
        assert_eq!(planned["devices"], 2);
        let (status, _, told) = here.poll("command=0", "", 30).await;
        assert_eq!((status, &told["command"]["order"]), (200, &json!({"rotate": "api"})));
        assert_eq!(here.propose(NewKey::Api(ApiKey([99; 32]))).await.status(), 200);
        here.key = ApiKey([99; 32]);
        here.poll("", "", 0).await;
        let path = format!("/api/v1/fleets/harbour/devices/{}", here.uuid);
        let shown = admin.ok(Method::GET, &path, None).await;
        assert!(shown["api_key_changed_at"].is_string(), "{shown}");
        let (_, problem) = admin.refused(Method::POST, "/api/v1/fleets/harbour/rotate-keys", Some(json!({"over_s": 9_999_999}))).await;
        assert_eq!(problem["field"], "over_s");
    }

    async fn a_removed_device_is_nobody(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let key = provisioning_key(&admin, "harbour", 2).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        let path = format!("/api/v1/fleets/harbour/devices/{}", gadget.uuid);
        assert_eq!(admin.status(Method::DELETE, "/api/v1/fleets/harbour", None).await, 409, "devices are in it");
        admin.ok(Method::DELETE, &path, None).await;
        assert_eq!(gadget.poll("", "", 0).await.0, 401);
        assert_eq!(admin.status(Method::GET, &path, None).await, 404);
        assert_eq!(gadget.register(&key).await.status(), 200, "it may come again");
    }

    async fn variables_are_set_listed_and_never_recorded(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let path = "/api/v1/fleets/harbour/variables";
        let variable = json!({"name": "TOKEN", "kind": "environment", "service": "web", "value": "s3cret"});
        admin.ok(Method::PUT, path, Some(variable.clone())).await;
        assert_eq!(admin.ok(Method::GET, path, None).await, json!([variable]));
        let changes = admin.ok(Method::GET, "/api/v1/fleets/harbour/changes", None).await;
        assert!(changes.to_string().contains("variable.set") && !changes.to_string().contains("s3cret"));
        let bad = json!({"name": "1X", "value": ""});
        assert_eq!(admin.refused(Method::PUT, path, Some(bad)).await.1["field"], "name");
        assert_eq!(admin.status(Method::DELETE, &format!("{path}/TOKEN"), None).await, 404, "of another service");
        admin.ok(Method::DELETE, &format!("{path}/TOKEN?service=web"), None).await;
    }

    async fn a_device_shows_which_release_it_runs_and_listeners_hear_of_targets_and_roll_outs(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let publisher = Publisher::of(&admin, "harbour").await;
        publisher.upload_root(&admin).await;
        let key = provisioning_key(&admin, "harbour", 2).await;
        let gadget = Gadget::registered(&site, 1, &key).await;
        let path = format!("/api/v1/fleets/harbour/devices/{}", gadget.uuid);
        assert!(admin.ok(Method::GET, &path, None).await.get("running_release").is_none());
        let mut stream = admin.request(Method::GET, "/api/v1/fleets/harbour/events").send().await.unwrap();
        let made = publisher.push(&admin, "1.0.0", b"image one", true).await;
        let plan = json!({"waves": [{"who": {"by": "percent", "percent": 100}}]});
        admin.ok(Method::PUT, "/api/v1/fleets/harbour/releases/1/rollout", Some(plan)).await;
        admin.ok(Method::POST, "/api/v1/fleets/harbour/releases/1/finalize", None).await;
        let target = format!(r#"{{"event":"target","device":"{}","release":1}}"#, gadget.uuid);
        let told = Person::hears(&mut stream, &target).await;
        assert!(told.contains("event: target"), "{told}");
        assert!(told.contains("event: rollout") && told.contains(r#"{"event":"rollout","release":1}"#), "{told}");
        let digest = made["documents"][0]["digest"].as_str().unwrap().parse().unwrap();
        let said = lightship_core::wire::Report { version: Some("1.0.0".parse().unwrap()), ..report(1, Some(digest)) };
        assert_eq!(gadget.report(&said).await, 204);
        Person::hears(&mut stream, "event: report").await;
        let shown = admin.ok(Method::GET, &path, None).await;
        assert_eq!((&shown["running_release"], &shown["running_version"]), (&json!(1), &json!("1.0.0")), "{shown}");
        let listed = admin.ok(Method::GET, "/api/v1/fleets/harbour/devices", None).await;
        assert_eq!(listed[0]["running_release"], 1);
        let unknown = report(1, Some(Digest::of(b"of another fleet")));
        gadget.report(&unknown).await;
        assert!(admin.ok(Method::GET, &path, None).await.get("running_release").is_none());
    }

    async fn a_roll_out_goes_wave_by_wave_and_a_person_can_stop_it(site: Site) {
        let admin = fleet(&site, "harbour").await;
        let publisher = Publisher::of(&admin, "harbour").await;
        publisher.upload_root(&admin).await;
        let key = provisioning_key(&admin, "harbour", 2).await;
        let (one, two) = (Gadget::registered(&site, 1, &key).await, Gadget::registered(&site, 2, &key).await);
        let tag = json!({"tags": {"ring": "canary"}});
        admin.ok(Method::PATCH, &format!("/api/v1/fleets/harbour/devices/{}", one.uuid), Some(tag)).await;
        publisher.push(&admin, "1.0.0", b"image one", true).await;
        let path = "/api/v1/fleets/harbour/releases/1/rollout";
        let bad = json!({"waves": [{"who": {"by": "percent", "percent": 50}}]});
        assert_eq!(admin.refused(Method::PUT, path, Some(bad)).await.1["field"], "waves");
        let plan = json!({"waves": [{"who": {"by": "tag", "key": "ring", "value": "canary"}, "soak_s": 86400}, {"who": {"by": "percent", "percent": 100}}]});
        admin.ok(Method::PUT, path, Some(plan)).await;
        admin.ok(Method::POST, "/api/v1/fleets/harbour/releases/1/finalize", None).await;
        assert_eq!(one.poll("", "", 0).await.0, 200);
        assert_eq!(two.poll("", "", 0).await.0, 304);
        let shown = admin.ok(Method::GET, path, None).await;
        assert_eq!((&shown["phase"], &shown["waves"][0]["told"], &shown["waves"][1]["waiting"]), (&json!("running"), &json!(1), &json!(1)));
        assert_eq!(admin.ok(Method::POST, path, Some(json!({"order": "pause"}))).await["phase"], "paused");
        site.restart().await;
        let admin = site.admin().await;
        assert_eq!(admin.ok(Method::GET, path, None).await["phase"], "paused");
        admin.ok(Method::POST, path, Some(json!({"order": "resume"}))).await;
        admin.ok(Method::POST, path, Some(json!({"order": "advance"}))).await;
        assert_eq!(two.at(&site).poll("", "", 0).await.0, 200);
    }
}
