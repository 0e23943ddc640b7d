//! What applications and people find at the device: the local API, locks, `status` and `doctor`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::device::{self, Device};
use crate::shore::Shore;
use crate::{tell, until};

/// One request through a door of the device: the status and the body.
fn ask(door: &PathBuf, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(door).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: device\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The other end may refuse before it has read everything.
    let _ = stream.write_all(body.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (
        status.unwrap_or(0),
        serde_json::from_str(body).unwrap_or(Value::Null),
    )
}

/// The same, by an application that asks again when it has asked too often.
async fn ask_again(
    device: &Device,
    door: &PathBuf,
    (method, path): (&str, &str),
    token: &str,
    body: &str,
) -> (u16, Value) {
    let mut answer = (429, Value::Null);
    until("an answer", device, async || {
        answer = ask(door, method, path, token, body);
        answer.0 != 429
    })
    .await;
    answer
}

/// A variable of a process.
fn variable(process: u32, name: &str) -> Option<String> {
    let all = fs::read(format!("/proc/{process}/environ")).unwrap();
    let all = String::from_utf8_lossy(&all).into_owned();
    let mut pairs = all.split('\0').filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value.to_owned())
}

/// The socket of a container's process, seen from outside.
fn door(process: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/root/run/lightship/api/socket"))
}

async fn status(device: &Device) -> Value {
    let (text, code) = device.ask(&["status", "--json"]).await;
    assert_eq!(code, Some(0), "{text}");
    serde_json::from_str(&text).unwrap()
}

async fn is_held(device: &Device) -> bool {
    let notes = status(device).await["notes"].as_array().unwrap().clone();
    let last = notes.iter().rev().find(|note| note["note"] != "Connected");
    last.is_some_and(|note| note["note"] == "HeldByLock")
}

const WITH_API: &str = "exec /bin/busybox sleep 1001";
const WITH_FILE_LOCK: &str =
    "/bin/busybox touch /tmp/balena/updates.lock; exec /bin/busybox sleep 1002";
const PLAIN: &str = "exec /bin/busybox sleep 1003";
const CONTROL: &str = "exec /bin/busybox sleep 1004";

fn shell(line: &str) -> [&str; 4] {
    ["/bin/busybox", "sh", "-c", line]
}

#[test]
fn applications_ask_and_lock_and_people_see_how_the_device_does() {
    tell(applications_and_people);
}

async fn applications_and_people(program: PathBuf) {
    let shore = Shore::start().await;
    let mut device = Device::new(program, &shore, "").await;
    let (text, code) = device.ask(&["status"]).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("does not run"), "{text}");
    device.start();

    let features = json!({"features": ["local-api", "balena-api"]});
    let (first, _) = shore.push_with("1.0.0", &shell(WITH_API), features).await;
    until("the first release", &device, async || {
        shore.shows(&first).await
    })
    .await;

    the_api_answers_those_who_may_ask(&device);
    the_device_says_how_it_does(&device).await;

    // A lock that was asked for holds the next release off, until it is let go.
    let process = device.process("sleep 1001").unwrap();
    let token = variable(process, "LIGHTSHIP_API_TOKEN").unwrap();
    let (code, said) = ask_again(
        &device,
        &door(process),
        ("PUT", "/v1/lock"),
        &token,
        r#"{"expires_in_s": 600}"#,
    )
    .await;
    assert_eq!((code, &said["covers"]), (200, &json!("service")), "{said}");
    let second = shore.push("2.0.0", &shell(WITH_FILE_LOCK)).await;
    until("the lock that was asked for", &device, async || {
        is_held(&device).await
    })
    .await;
    assert_eq!(device.process("sleep 1001"), Some(process));
    let locks = status(&device).await["locks"].clone();
    assert_eq!(
        (&locks[0]["service"], &locks[0]["by_api"]),
        (&json!("web"), &json!(true)),
        "{locks}"
    );
    let balena = variable(process, "BALENA_SUPERVISOR_API_KEY").unwrap();
    let (code, said) = ask_again(
        &device,
        &door(process),
        ("POST", &format!("/v1/reboot?apikey={balena}")),
        &balena,
        "",
    )
    .await;
    assert_eq!(code, 423, "{said}");
    let unlock = ("DELETE", "/v1/lock");
    let (code, _) = ask_again(&device, &door(process), unlock, &token, "").await;
    assert_eq!(code, 204);
    until("the second release", &device, async || {
        shore.shows(&second).await
    })
    .await;

    // A lock on a file does too, also over the daemon's end, until the process that holds it is dead.
    until("the lock on a file", &device, async || {
        status(&device).await["locks"][0]["by_file"] == json!(true)
    })
    .await;
    device.restart();
    let third = shore.push("3.0.0", &shell(PLAIN)).await;
    until("the daemon", &device, async || {
        device.path("run/control.sock").exists() && device.ask(&["status"]).await.1 == Some(0)
    })
    .await;
    until("the lock on a file, again", &device, async || {
        is_held(&device).await
    })
    .await;
    let holder = device.process("sleep 1002").unwrap();
    device::kill(holder);
    until("the third release", &device, async || {
        shore.shows(&third).await
    })
    .await;
    assert_eq!(status(&device).await["locks"], json!([]));

    // A service that does not ask finds nothing.
    let process = device.process("sleep 1003").unwrap();
    assert!(!door(process).exists());
    for name in [
        "LIGHTSHIP_API_TOKEN",
        "LIGHTSHIP_API_ADDRESS",
        "BALENA_SUPERVISOR_API_KEY",
    ] {
        assert_eq!(variable(process, name), None);
    }
    assert_eq!(
        variable(process, "BALENA_SERVICE_NAME").as_deref(),
        Some("web")
    );
    tags_and_updates(&shore, &mut device).await;
    shore.stop().await;
}

/// What needs `device-control`: tags that outlive the daemon; and the fleet is asked again when a service wants it.
async fn tags_and_updates(shore: &Shore, device: &mut Device) {
    let features = json!({"features": ["device-control"]});
    let (fourth, _) = shore.push_with("4.0.0", &shell(CONTROL), features).await;
    until("the fourth release", device, async || {
        shore.shows(&fourth).await
    })
    .await;
    let process = device.process("sleep 1004").unwrap();
    let token = variable(process, "LIGHTSHIP_API_TOKEN").unwrap();
    let door = door(process);
    let put = |path, body| ask(&door, "PUT", path, &token, body);
    let (code, said) = put("/v1/device/tags/site", r#"{"value": "hall 3"}"#);
    assert_eq!((code, &said), (200, &json!({"site": "hall 3"})), "{said}");
    for (path, body) in [
        ("/v1/device/tags/site", r#"{"value": 3}"#),
        ("/v1/device/tags/a%20b", r#"{"value": "x"}"#),
    ] {
        let (code, said) = put(path, body);
        assert_eq!(code, 422, "{path}: {said}");
    }
    device.restart();
    until("the tag after a kill", device, async || {
        let (text, code) = device.ask(&["status", "--json"]).await;
        code == Some(0) && text.contains("hall 3")
    })
    .await;
    let delete = || ask(&door, "DELETE", "/v1/device/tags/site", &token, "");
    until("the door after a kill", device, async || {
        delete() == (200, json!({}))
    })
    .await;

    until("the connection", device, async || shore.is_online().await).await;
    let uptime_s = async || shore.device().await.unwrap()["metrics"]["uptime_s"].as_u64();
    until("how the device does", device, async || {
        uptime_s().await.is_some()
    })
    .await;
    let before = uptime_s().await;
    let (code, said) = ask(&door, "POST", "/v1/device/update", &token, "");
    assert_eq!((code, &said["held_by"]), (202, &json!([])), "{said}");
    until(
        "the answer to an application that asks",
        device,
        async || uptime_s().await > before,
    )
    .await;
}

fn the_api_answers_those_who_may_ask(device: &Device) {
    let process = device.process("sleep 1001").unwrap();
    let token = variable(process, "LIGHTSHIP_API_TOKEN").unwrap();
    let balena = variable(process, "BALENA_SUPERVISOR_API_KEY").unwrap();
    let door = door(process);
    let (code, said) = ask(&door, "GET", "/v1/device", "", "");
    assert_eq!((code, &said["title"]), (401, &json!("Unauthorized")));
    assert_eq!(ask(&door, "GET", "/v1/device", &"0".repeat(64), "").0, 401);
    let (code, said) = ask(&door, "GET", "/v1/device", &token, "");
    assert_eq!(
        (code, &said["is_registered"]),
        (200, &json!(true)),
        "{said}"
    );
    assert_eq!(
        said["uuid"].as_str(),
        variable(process, "LIGHTSHIP_DEVICE_UUID").as_deref()
    );
    let (code, said) = ask(&door, "GET", "/v1/services/web", &token, "");
    assert_eq!(
        (code, &said[0]["state"]),
        (200, &json!("healthy")),
        "{said}"
    );
    let (code, said) = ask(&door, "GET", "/v1/release", &token, "");
    assert_eq!(
        (code, &said["committed"]["version"]),
        (200, &json!("1.0.0")),
        "{said}"
    );
    // What concerns more than itself, it did not ask for.
    for (method, path) in [
        ("GET", "/v1/status"),
        ("POST", "/v1/device/reboot"),
        ("PUT", "/v1/device/tags/site"),
        ("POST", "/v1/services/other/restart"),
    ] {
        let (code, said) = ask(&door, method, path, &token, r#"{"value": "x"}"#);
        assert_eq!(code, 403, "{method} {path}: {said}");
    }
    let (code, said) = ask(&door, "PUT", "/v1/lock", &token, r#"{"covers": "device"}"#);
    assert_eq!(code, 403, "{said}");
    assert_eq!(ask(&door, "GET", "/v2/nothing", &token, "").0, 404);
    assert_eq!(
        ask(&door, "PUT", "/v1/lock", &token, r#"{"expires": 1}"#).0,
        422
    );
    assert_eq!(
        ask(&door, "PUT", "/v1/lock", &token, &"x".repeat(5000)).0,
        413
    );
    // The same door in balena's way of speaking.
    let (code, said) = ask(&door, "GET", &format!("/v1/device?apikey={balena}"), "", "");
    assert_eq!((code, &said["status"]), (200, &json!("Idle")), "{said}");
    let (code, said) = ask(&door, "GET", "/v2/applications/state", &balena, "");
    assert_eq!(
        (code, &said["harbour"]["services"]["web"]["status"]),
        (200, &json!("Running")),
        "{said}"
    );
    // Too much is too much.
    let codes: Vec<u16> = (0..60)
        .map(|_| ask(&door, "GET", "/v1/device", &token, "").0)
        .collect();
    assert!(codes.contains(&429), "{codes:?}");
}

async fn the_device_says_how_it_does(device: &Device) {
    let said = status(device).await;
    assert_eq!(said["connection"]["is_up"], json!(true), "{said}");
    assert_eq!(said["components"][0]["name"], json!("web"), "{said}");
    let (text, _) = device.ask(&["status"]).await;
    assert!(
        text.contains("registered   yes") && text.contains("web is healthy (committed)"),
        "{text}"
    );
    let (text, _) = device.ask(&["doctor", "--json"]).await;
    let said: Value = serde_json::from_str(&text).unwrap();
    let verdict = |what: &str| {
        let all = said["findings"].as_array().unwrap();
        let found = all.iter().find(|finding| finding["what"] == what);
        found.map(|finding| finding["verdict"].clone())
    };
    for what in [
        "configuration",
        "daemon",
        "connection",
        "clock",
        "name",
        "server",
        "certificate",
        "namespaces",
        "overlayfs",
    ] {
        assert_eq!(verdict(what), Some(json!("good")), "{what}: {text}");
    }
}
