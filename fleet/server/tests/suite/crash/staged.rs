//! Staged roll-outs while the server is killed: what a person was told of each stays true.

use reqwest::Method;
use serde_json::{Value, json};

use crate::gadget::Gadget;
use crate::publisher::Publisher;
use crate::site::Person;

/// What a person does to one roll-out after the other, and what is true of it then.
const STORIES: [[(&str, &str); 4]; 3] = [
    [
        ("finalize", "running"),
        ("pause", "paused"),
        ("resume", "running"),
        ("revert", "reverted"),
    ],
    [
        ("finalize", "running"),
        ("advance", "running"),
        ("pause", "paused"),
        ("invalidate", "invalid"),
    ],
    [
        ("finalize", "running"),
        ("pause", "paused"),
        ("abort", "aborted"),
        ("invalidate", "invalid"),
    ],
];

/// Two devices that never run a release: a wave with nobody in it is passed over, so that a roll-out
/// without them would complete by itself while a person still stops it.
pub(crate) async fn a_device_for_each_wave(admin: &Person, key: &str) {
    // Those that register later count from one.
    for (seed, ring) in [(254, "canary"), (255, "rest")] {
        let device = Gadget::of(&admin.anonymous(), seed);
        assert_eq!(device.try_register(key).await, Some(200));
        let path = format!("/api/v1/fleets/harbour/devices/{}", device.uuid);
        let tags = json!({"tags": {"ring": ring}});
        admin.ok(Method::PATCH, &path, Some(tags)).await;
    }
}

/// A roll-out.
pub(crate) struct Staged {
    release: u64,
    /// How it may be: as the last answer said, or as the request makes it that was under way.
    may_be: Vec<&'static str>,
}

/// Rolls releases out until the server is gone; what it acknowledged is in `known`.
pub(crate) async fn roll_out(
    round: u64,
    admin: &Person,
    publisher: &Publisher,
    known: &mut Vec<Staged>,
) -> Option<()> {
    for step in 0.. {
        let version = format!("{round}.{step}-staged");
        let image = format!("staged image {round} {step}").into_bytes();
        let made = publisher.try_push(admin, &version, &image, true).await?;
        let release = made["number"].as_u64()?;
        let staged = Staged {
            release,
            may_be: vec!["planned"],
        };
        let tell =
            async |method, action: &str, body| ask(admin, method, release, action, body).await;
        let waves = [
            json!({"who": {"by": "tag", "key": "ring", "value": "canary"}, "soak_s": 86400}),
            json!({"who": {"by": "percent", "percent": 100}}),
        ];
        tell(Method::PUT, "rollout", json!({ "waves": waves })).await?;
        known.push(staged);
        for (order, leads_to) in STORIES[step % STORIES.len()] {
            known.last_mut()?.may_be.push(leads_to);
            match order {
                "finalize" => tell(Method::POST, "finalize", Value::Null).await?,
                "invalidate" => {
                    let why = json!({"reason": "it burns"});
                    tell(Method::POST, "invalidate", why).await?;
                }
                "revert" => {
                    let order = json!({"order": "abort", "revert": true});
                    tell(Method::POST, "rollout", order).await?;
                }
                order => tell(Method::POST, "rollout", json!({ "order": order })).await?,
            }
            known.last_mut()?.may_be = vec![leads_to];
        }
    }
    None
}

/// A request that must succeed, unless the server is gone.
async fn ask(
    admin: &Person,
    method: Method,
    release: u64,
    action: &str,
    body: Value,
) -> Option<()> {
    let path = format!("/api/v1/fleets/harbour/releases/{release}/{action}");
    let request = admin.request(method, &path);
    let request = match body {
        Value::Null => request,
        body => request.json(&body),
    };
    let answer = request.send().await.ok()?;
    let status = answer.status();
    let text = answer.text().await.ok()?;
    assert!(status.is_success(), "{path}: {status} {text}");
    Some(())
}

/// Each roll-out is as a person was told, and what was taken back is no device's target.
pub(crate) async fn check(admin: &Person, known: &mut [Staged]) {
    for staged in known.iter_mut() {
        let phase = phase(admin, staged.release).await;
        let is = |may: &&'static str| phase == if *may == "reverted" { "aborted" } else { *may };
        let found = staged.may_be.iter().copied().find(is);
        let expected = &staged.may_be;
        let found = found
            .unwrap_or_else(|| panic!("release {} is {phase}, not {expected:?}", staged.release));
        staged.may_be = vec![found];
    }
    let path = "/api/v1/fleets/harbour/devices?limit=1000";
    let devices = admin.ok(Method::GET, path, None).await;
    let taken_back = |staged: &&Staged| ["invalid", "reverted"].contains(&staged.may_be[0]);
    for staged in known.iter().filter(taken_back) {
        for device in devices.as_array().unwrap() {
            assert_ne!(device["target"], staged.release, "{device}");
        }
    }
}

async fn phase(admin: &Person, release: u64) -> String {
    let path = format!("/api/v1/fleets/harbour/releases/{release}");
    // The director answers this, and has done all that follows from what is stored before it does.
    let rollout = admin
        .ok(Method::GET, &format!("{path}/rollout"), None)
        .await;
    let shown = admin.ok(Method::GET, &path, None).await;
    let state = if shown["state"] == "invalid" {
        &shown["state"]
    } else {
        &rollout["phase"]
    };
    state.as_str().unwrap().to_owned()
}
