//! Every route, topic and registry scope, with every kind of wrong credential.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lightship_core::id::{ApiKey, Digest};
use reqwest::Method;
use serde_json::{Value, json};

use crate::gadget::{Gadget, next_year, provisioning_key};
use crate::publisher::{Publisher, upload_blob};
use crate::site::{PASSWORD, Person, Site, on_both_databases};

/// Two fleets of two people who have nothing to do with each other, and somebody who may only look.
struct World {
    owner: Person,
    stranger: Person,
    viewer: Person,
    device: Gadget,
    foreign_device: Gadget,
    provisioning_key: String,
    key_id: String,
    token_id: String,
}

/// Routes that are for everybody, or answer about the caller alone.
const OPEN: [&str; 12] = [
    "GET /health/live",
    "GET /health/ready",
    "GET /ca.pem",
    "POST /api/v1/session",
    "DELETE /api/v1/session",
    "GET /api/v1/me",
    "GET /api/v1/tokens",
    "POST /api/v1/tokens",
    "GET /api/v1/fleets",
    "POST /api/v1/fleets",
    "GET /api/v1/director",
    "GET /api/v1/openapi.json",
];

/// A body that would be taken from somebody who may.
fn body(operation: &str) -> Option<Value> {
    let later = next_year();
    Some(match operation {
        "createUser" => json!({"name": "eve", "password": PASSWORD, "admin": true}),
        "updateUser" => json!({"password": "changed by eve", "current_password": PASSWORD}),
        "updateFleet" => json!({"description": "changed by eve"}),
        "putMember" => json!({"role": "owner"}),
        "createProvisioningKey" => json!({"label": "eve", "max_uses": 9, "expires_at": later}),
        "createDevice" => {
            json!({"uuid": "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "device_type": "board"})
        }
        "updateDevice" => json!({"name": "changed by eve"}),
        "pinDevice" => json!({"release": 1}),
        "moveDevice" => json!({"fleet": "ferry"}),
        "rotateFleetKeys" => json!({"over_s": 0}),
        "rotateHubKey" => json!({"over_s": 0}),
        "overrideLocks" => json!({"overridden": true}),
        "commandDevice" => json!({"command": "reboot"}),
        "createRoot" => json!({"document": "AAAA"}),
        "createRelease" => json!({"documents": ["AAAA"]}),
        "invalidateRelease" => json!({"reason": "eve"}),
        "planRollout" => json!({"waves": [{"who": {"by": "percent", "percent": 100}}]}),
        "orderRollout" => json!({"order": "pause"}),
        "putVariable" | "putDeviceVariable" => json!({"name": "EVE", "value": "x"}),
        "createBuild" => {
            let targets = json!([{"device_type": "board", "platform": "linux/arm64"}]);
            json!({"project": format!("sha256:{}", Digest::of(b"image of harbour")), "targets": targets})
        }
        "createFleet" | "createToken" | "logIn" => json!({}),
        _ => return None,
    })
}

impl World {
    async fn make(site: &Site) -> Self {
        let (owner, stranger, viewer) = (
            site.user("mira").await,
            site.user("jon").await,
            site.user("vera").await,
        );
        owner
            .ok(
                Method::POST,
                "/api/v1/fleets",
                Some(json!({"name": "harbour"})),
            )
            .await;
        stranger
            .ok(
                Method::POST,
                "/api/v1/fleets",
                Some(json!({"name": "ferry"})),
            )
            .await;
        owner
            .ok(
                Method::PUT,
                "/api/v1/fleets/harbour/members/vera",
                Some(json!({"role": "viewer"})),
            )
            .await;
        let publisher = Publisher::of(&owner, "harbour").await;
        publisher.upload_root(&owner).await;
        publisher
            .push(&owner, "1.0.0", b"image of harbour", false)
            .await;
        let key = provisioning_key(&owner, "harbour", 9).await;
        let device = Gadget::registered(site, 1, &key).await;
        let foreign = provisioning_key(&stranger, "ferry", 9).await;
        let foreign_device = Gadget::registered(site, 2, &foreign).await;
        // An image is no archive: the build fails, and is there.
        let build = body("createBuild");
        owner
            .ok(Method::POST, "/api/v1/fleets/harbour/builds", build)
            .await;
        let variable = Some(json!({"name": "X", "value": "x"}));
        owner
            .ok(Method::PUT, "/api/v1/fleets/harbour/variables", variable)
            .await;
        let keys = owner
            .ok(
                Method::GET,
                "/api/v1/fleets/harbour/provisioning-keys",
                None,
            )
            .await;
        let tokens = owner.ok(Method::GET, "/api/v1/tokens", None).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            key_id: text(&keys[0]["id"]),
            token_id: text(&tokens[0]["id"]),
            provisioning_key: key,
            owner,
            stranger,
            viewer,
            device,
            foreign_device,
        }
    }

    fn path(&self, template: &str, fleet: &str) -> String {
        let path = template
            .replace("{fleet}", fleet)
            .replace("{device}", &self.device.uuid.to_string());
        let path = path
            .replace("{release}", "1")
            .replace("{build}", "1")
            .replace("{key}", &self.key_id)
            .replace("{token}", &self.token_id);
        path.replace("{user}", "mira").replace("{variable}", "X")
    }

    /// What would show that somebody changed something.
    async fn state(&self) -> (Value, Value) {
        let changes = self
            .owner
            .ok(Method::GET, "/api/v1/fleets/harbour/changes?limit=1", None)
            .await;
        let mut device = self
            .owner
            .ok(
                Method::GET,
                &format!("/api/v1/fleets/harbour/devices/{}", self.device.uuid),
                None,
            )
            .await;
        device["last_seen_at"] = Value::Null;
        (changes, device)
    }
}

on_both_databases! {
    async fn no_route_opens_to_a_wrong_credential(site: Site) {
        let world = World::make(&site).await;
        let before = world.state().await;
        let document = site.nobody().ok(Method::GET, "/api/v1/openapi.json", None).await;
        let mut walked = 0;
        for (template, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(_, operation)| operation.is_object()) {
                let route = format!("{} {template}", method.to_uppercase());
                if OPEN.contains(&route.as_str()) {
                    continue;
                }
                walked += 1;
                let name = operation["operationId"].as_str().unwrap();
                let sent = body(name);
                assert!(sent.is_some() || operation.get("requestBody").is_none(), "{name} needs a body here");
                let method: Method = method.to_uppercase().parse().unwrap();
                let path = world.path(template, "harbour");
                for wrong in ["", "garbage", "lst_0123456789abcdef_garbage", &world.device.bearer(), &world.provisioning_key] {
                    let status = site.with_token(wrong).status(method.clone(), &path, sent.clone()).await;
                    assert_eq!(status, 401, "{route} with {wrong}");
                }
                assert_eq!(site.nobody().status(method.clone(), &path, sent.clone()).await, 401, "{route} with nothing");
                let status = world.stranger.status(method.clone(), &path, sent.clone()).await;
                let hidden = if template.contains("{fleet}") { status == 404 } else { status == 403 || status == 404 };
                assert!(hidden, "{route} as a stranger: {status}");
                if template.contains("{fleet}/") && !template.ends_with("{fleet}/events") {
                    let path = world.path(template, "ferry");
                    if path.contains(&world.device.uuid.to_string()) || path.contains(&world.key_id) || path.contains("releases/1") || path.contains("builds/1") {
                        let status = world.stranger.status(method.clone(), &path, sent.clone()).await;
                        assert_eq!(status, 404, "{route} through the stranger's own fleet");
                    }
                }
                if template.contains("{fleet}") && method != Method::GET {
                    assert_eq!(world.viewer.status(method.clone(), &path, sent.clone()).await, 403, "{route} as a viewer");
                }
            }
        }
        assert!(walked >= 40, "{walked} routes");
        assert_eq!(world.state().await, before);
        let fleets = world.stranger.ok(Method::GET, "/api/v1/fleets", None).await;
        assert!(!fleets.to_string().contains("harbour"), "{fleets}");
    }

    async fn no_device_route_opens_to_a_wrong_credential(site: Site) {
        let world = World::make(&site).await;
        let device = &world.device;
        let image = Digest::of(b"image of harbour");
        let routes = [
            (Method::GET, "target".to_owned()),
            (Method::POST, "report".to_owned()),
            (Method::POST, "metrics".to_owned()),
            (Method::POST, "keys".to_owned()),
            (Method::POST, "logs".to_owned()),
            (Method::GET, format!("blobs/{image}")),
        ];
        let foreign_key = hex::encode(world.foreign_device.key.0);
        let token = world.owner.token.clone().unwrap();
        let wrong = [
            String::new(),
            "garbage".to_owned(),
            token.clone(),
            format!("{}.{token}", device.uuid),
            format!("{}.{foreign_key}", device.uuid),
            format!("{}.{}", device.uuid, world.provisioning_key),
            format!("{}.", device.uuid),
            device.uuid.to_string(),
        ];
        for (method, route) in &routes {
            for credential in &wrong {
                let path = format!("/device/v1/{route}");
                let status = site.with_token(credential).status(method.clone(), &path, Some(json!({}))).await;
                assert_eq!(status, 401, "{route} with {credential}");
            }
        }
        let unknown = Gadget { key: ApiKey([3; 32]), ..Gadget::new(&site, 77) };
        assert_eq!(unknown.poll("", "", 0).await.0, 401);
        let own = device.request(Method::GET, &format!("blobs/{image}")).send().await.unwrap();
        assert_eq!(own.status(), 200);
        let foreign = world.foreign_device.request(Method::GET, &format!("blobs/{image}")).send().await.unwrap();
        let absent = world.foreign_device.request(Method::GET, &format!("blobs/{}", Digest::of(b"?"))).send().await.unwrap();
        assert_eq!((foreign.status(), absent.status()), (absent.status(), reqwest::StatusCode::NOT_FOUND));
        assert_eq!(foreign.text().await.unwrap(), absent.text().await.unwrap());
    }

    async fn no_registry_scope_opens_to_a_wrong_credential(site: Site) {
        let world = World::make(&site).await;
        upload_blob(&world.owner, "harbour/web", b"a layer").await;
        let layer = format!("sha256:{}", Digest::of(b"a layer"));
        let manifest = json!({"schemaVersion": 2, "layers": [{"digest": layer, "size": 7, "mediaType": "x"}]}).to_string();
        let put = world.owner.request(Method::PUT, "/v2/harbour/web/manifests/latest").body(manifest);
        assert_eq!(put.send().await.unwrap().status(), 201);
        let pull = [
            "/v2/harbour/web/manifests/latest".to_owned(),
            "/v2/harbour/web/tags/list".to_owned(),
            format!("/v2/harbour/web/blobs/{layer}"),
            format!("/v2/harbour/web/referrers/{layer}"),
            "/v2/harbour/nothing/tags/list".to_owned(),
        ];
        let push = [
            (Method::POST, "/v2/harbour/web/blobs/uploads/".to_owned()),
            (Method::PUT, "/v2/harbour/web/manifests/evil".to_owned()),
            (Method::DELETE, "/v2/harbour/web/manifests/latest".to_owned()),
            (Method::DELETE, format!("/v2/harbour/web/blobs/{layer}")),
        ];
        let mount = format!("/v2/ferry/web/blobs/uploads/?mount={layer}&from=harbour/web");
        let pass = async |name: &str, password: &str, scope: &str| {
            let request = site.client.get(format!("{}/v2/token?service=lightship&scope={scope}", site.url));
            let answer = request.basic_auth(name, Some(password)).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_owned()
        };
        let scope = "repository:harbour/web:pull,push,delete";
        let (foreign, key) = (&world.foreign_device, hex::encode(world.foreign_device.key.0));
        let outside = [
            String::new(),
            "garbage".to_owned(),
            world.stranger.token.clone().unwrap(),
            pass("jon", PASSWORD, scope).await,
            pass(&foreign.uuid.to_string(), &key, scope).await,
            pass("mira", PASSWORD, "repository:harbour/other:pull,push").await,
            foreign.bearer(),
        ];
        for credential in &outside {
            for path in &pull {
                assert_eq!(site.with_token(credential).status(Method::GET, path, None).await, 401, "{path} with {credential}");
            }
        }
        let key = hex::encode(world.device.key.0);
        let readers = [
            world.viewer.token.clone().unwrap(),
            pass("vera", PASSWORD, scope).await,
            pass(&world.device.uuid.to_string(), &key, scope).await,
            world.device.bearer(),
        ];
        for credential in readers.iter().chain(&outside) {
            for (method, path) in &push {
                assert_eq!(site.with_token(credential).status(method.clone(), path, None).await, 401, "{method} {path} with {credential}");
            }
            assert_ne!(site.with_token(credential).status(Method::POST, &mount, None).await, 201, "{credential}");
        }
        for credential in &readers {
            assert_eq!(site.with_token(credential).status(Method::GET, &pull[0], None).await, 200, "{credential}");
        }
        let wrong = site.client.get(format!("{}/v2/token", site.url)).basic_auth("mira", Some("wrong"));
        assert_eq!(wrong.send().await.unwrap().status(), 401);
        let mut forged = pass("vera", PASSWORD, scope).await;
        let body = STANDARD.encode("{}");
        forged.replace_range(4..8, &body[..4]);
        assert_eq!(site.with_token(&forged).status(Method::GET, &pull[0], None).await, 401);
    }
}
