//! Registrations in postcard, as a microcontroller sends them: the same checks, statuses and bounds as in JSON.

use lightship_core::id::ApiKey;
use lightship_core::wire::{self, Down, Refusal, Refused, Up};
use reqwest::{Method, Response};
use serde_json::json;

use crate::gadget::{Gadget, provisioning_key};
use crate::site::{Database, Site, on_both_databases};

const KIND: &str = "application/vnd.lightship.postcard";

async fn harbour(site: &Site, uses: u32) -> String {
    let admin = site.admin().await;
    let fleet = json!({"name": "harbour"});
    admin.ok(Method::POST, "/api/v1/fleets", Some(fleet)).await;
    provisioning_key(&admin, "harbour", uses).await
}

fn encoded(message: &Up) -> Vec<u8> {
    let mut out = [0; 1024];
    wire::encode(message, &mut out).unwrap().to_vec()
}

async fn post(gadget: &Gadget, kind: &str, body: Vec<u8>) -> Response {
    let request = gadget.person.request(Method::POST, "/device/v1/register");
    let request = request.header("content-type", kind).body(body);
    request.send().await.unwrap()
}

/// Registers, and returns the status, the content type, the seconds to wait and the body.
async fn register(gadget: &Gadget, key: &str) -> (u16, String, Option<u32>, Vec<u8>) {
    let answer = post(gadget, KIND, encoded(&gadget.message(key))).await;
    let header = |name| Some(answer.headers().get(name)?.to_str().unwrap().to_owned());
    let (kind, wait) = (header("content-type"), header("retry-after"));
    let status = answer.status().as_u16();
    let wait = wait.map(|seconds| seconds.parse().unwrap());
    let body = answer.bytes().await.unwrap().to_vec();
    (status, kind.unwrap_or_default(), wait, body)
}

async fn refused(gadget: &Gadget, key: &str) -> (u16, Refused) {
    let (status, kind, wait, body) = register(gadget, key).await;
    assert_eq!(kind, KIND);
    let Ok(Down::Refused(refused)) = wire::decode_down(&body) else {
        panic!("{status}: {body:?}");
    };
    assert_eq!(refused.retry_after_s, wait, "the head says so too");
    (status, refused)
}

on_both_databases! {
    async fn who_asks_in_postcard_is_answered_in_postcard(site: Site) {
        let key = harbour(&site, 1).await;
        let gadget = Gadget::new(&site, 1);
        for _ in 0..2 {
            let (status, kind, _, body) = register(&gadget, &key).await;
            assert_eq!((status, kind.as_str()), (200, KIND), "twice is as good as once");
            let Ok(Down::Registered(registered)) = wire::decode_down(&body) else {
                panic!("{body:?}");
            };
            assert_eq!(registered.uuid, gadget.uuid);
        }
        assert_eq!(gadget.poll("root=1&command=0", "", 0).await.0, 304, "it is a device now");
        let json = gadget.register(&key).await;
        assert_eq!(json.headers()["content-type"], "application/json", "as ever");
        let kind = format!("{}; version=1", KIND.to_uppercase());
        let answer = post(&gadget, &kind, encoded(&gadget.message(&key))).await;
        assert_eq!(answer.status(), 200, "{kind}");
    }

    async fn refusals_in_postcard_say_the_same_with_the_same_status(site: Site) {
        let key = harbour(&site, 2).await;
        let first = Gadget::new(&site, 1);
        assert_eq!(register(&first, &key).await.0, 200);
        let thief = Gadget { key: ApiKey([7; 32]), ..first.clone() };
        let (status, taken) = refused(&thief, &key).await;
        assert_eq!((status, taken.reason), (409, Refusal::IdentityTaken));
        assert_eq!(register(&Gadget::new(&site, 3), &key).await.0, 200);
        let bad = Refused { reason: Refusal::BadProvisioningKey, retry_after_s: None };
        assert_eq!(refused(&Gadget::new(&site, 2), &key).await, (403, bad), "it is used up");
        assert_eq!(refused(&Gadget::new(&site, 2), &"00".repeat(32)).await, (403, bad));
        assert_eq!(first.poll("root=1&command=0", "", 0).await.0, 304);
        assert_eq!(thief.poll("root=1&command=0", "", 0).await.0, 401);
    }

    async fn what_is_no_registration_in_postcard_is_refused_and_nothing_comes_of_it(site: Site) {
        let key = harbour(&site, 9).await;
        let gadget = Gadget::new(&site, 1);
        let good = encoded(&gadget.message(&key));
        let json = serde_json::to_vec(&gadget.message(&key)).unwrap();
        let proposal = encoded(&Up::ProposeKey(wire::NewKey::Api(gadget.key)));
        let mut version = good.clone();
        version[0] = 99;
        let mut bodies = vec![Vec::new(), json, proposal, version, [&good[..], b"x"].concat()];
        bodies.extend((0..good.len()).map(|len| good[..len].to_vec()));
        bodies.push(vec![0xFF; 1500]);
        for body in bodies {
            let answer = post(&gadget, KIND, body.clone()).await;
            assert_eq!(answer.status(), 400, "{body:?}");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
        }
        assert_eq!(post(&gadget, KIND, vec![1; 5000]).await.status(), 413);
        assert_eq!(post(&gadget, "application/json", good.clone()).await.status(), 400);
        assert_eq!(gadget.poll("root=1&command=0", "", 0).await.0, 401, "nobody was let in");
        assert_eq!(register(&gadget, &key).await.0, 200);
    }

    async fn registrations_in_postcard_are_slowed_down_too(database: Database) {
        let site = Site::start_with(database.0, |config| config.limits.registrations_per_minute = 2).await;
        let key = harbour(&site, 9).await;
        for seed in [1, 2] {
            assert_eq!(register(&Gadget::new(&site, seed), &key).await.0, 200);
        }
        let (status, _, wait, _) = register(&Gadget::new(&site, 3), &key).await;
        assert_eq!(status, 429);
        assert!((1..=60).contains(&wait.unwrap()), "{wait:?}");
    }

    async fn a_full_fleet_says_so_in_postcard(database: Database) {
        let site = Site::start_with(database.0, |config| config.limits.devices_per_fleet = 1).await;
        let key = harbour(&site, 9).await;
        assert_eq!(register(&Gadget::new(&site, 1), &key).await.0, 200);
        let (status, busy) = refused(&Gadget::new(&site, 2), &key).await;
        assert_eq!((status, busy.reason), (429, Refusal::Busy));
        assert!(busy.retry_after_s.is_some());
    }
}
