//! Builds of projects on the server.

use std::io::Write;

use lightship_builder::{Cancel, Limits, bundle};
use lightship_core::id::Digest;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::publisher::upload_blob;
use crate::site::{Database, Person, Site, on_both_databases};

const BUILDS: &str = "/api/v1/fleets/harbour/builds";

/// A project of one service whose Dockerfile begins like this.
pub(crate) fn project(from: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("compose.yaml", "services:\n  web:\n    build: .\n");
    write(
        "Dockerfile",
        &format!("FROM {from}\nCOPY page.html /page.html\nCMD [\"/serve\"]\n"),
    );
    write("page.html", "hello");
    let mut archive = Vec::new();
    bundle::pack(
        folder.path(),
        &mut archive,
        Limits::default(),
        &Cancel::default(),
    )
    .unwrap();
    archive
}

/// What asks for a build of this archive.
pub(crate) fn request(archive: &[u8]) -> Value {
    let targets = json!([{"device_type": "pi4", "platform": "linux/arm64"}]);
    json!({"project": format!("sha256:{}", Digest::of(archive)), "targets": targets})
}

async fn fleet(site: &Site) -> Person {
    let admin = site.admin().await;
    let fleet = json!({"name": "harbour"});
    admin.ok(Method::POST, "/api/v1/fleets", Some(fleet)).await;
    admin
}

/// Has an archive built; returns the build's path.
async fn begin(admin: &Person, archive: &[u8]) -> String {
    upload_blob(admin, "harbour/project", archive).await;
    let made = admin.ok(Method::POST, BUILDS, Some(request(archive))).await;
    format!("{BUILDS}/{}", made["number"])
}

async fn log(admin: &Person, path: &str, after: u64) -> Response {
    let request = admin.request(Method::GET, &format!("{path}/log"));
    let request = request.header("last-event-id", after.to_string());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

/// The whole log of a build, and the build when it has ended.
async fn ended(admin: &Person, path: &str) -> (String, Value) {
    let said = Person::hears_the_end(&mut log(admin, path, 0).await).await;
    assert!(said.contains("event: ended"), "{said}");
    (said, admin.ok(Method::GET, path, None).await)
}

/// Somebody who listens on a port, takes every connection and says nothing.
async fn silence() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    host
}

/// Nothing that a build worked on is left.
fn clean(site: &Site) {
    let folder = site.config.data.join("builds");
    let left: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

on_both_databases! {
    async fn a_project_is_built_into_the_registry_and_its_log_is_followed_from_any_line(site: Site) {
        let admin = fleet(&site).await;
        let mut events = admin.request(Method::GET, "/api/v1/fleets/harbour/events").send().await.unwrap();
        let path = begin(&admin, &project("scratch")).await;
        Person::hears(&mut events, r#"{"event":"build","build":1}"#).await;
        let (said, build) = ended(&admin, &path).await;
        assert_eq!((&build["state"], build.get("error")), (&json!("done"), None), "{said}");
        assert!(said.contains("COPY page.html") && said.contains("id: 1\n"), "{said}");
        let image = &build["images"][0];
        assert_eq!((&image["service"], &image["device_type"]), (&json!("web"), &json!("pi4")));
        let manifest = format!("/v2/harbour/web/manifests/{}", image["digest"].as_str().unwrap());
        let manifest = admin.ok(Method::GET, &manifest, None).await;
        for part in [&manifest["config"], &manifest["layers"][0]] {
            let blob = format!("/v2/harbour/web/blobs/{}", part["digest"].as_str().unwrap());
            assert_eq!(admin.status(Method::HEAD, &blob, None).await, 200);
        }
        let rest = Person::hears_the_end(&mut log(&admin, &path, 2).await).await;
        assert!(rest.contains("id: 3\n") && !rest.contains("id: 2\n"), "{rest}");
        let (_, again) = ended(&admin, &begin(&admin, &project("scratch")).await).await;
        assert_eq!(again["images"], build["images"], "the same images of the same project");
        let listed = admin.ok(Method::GET, BUILDS, None).await;
        assert_eq!((&listed[0]["number"], &listed[1]["number"]), (&json!(2), &json!(1)));
        let changes = admin.ok(Method::GET, "/api/v1/fleets/harbour/changes?limit=1", None).await;
        assert_eq!((&changes["changes"][0]["what"], &changes["changes"][0]["by"]), (&json!("build.created"), &json!("user:admin")));
        clean(&site);
    }

    async fn a_build_is_cancelled_and_another_takes_its_place(site: Site) {
        let host = silence().await;
        site.server.take().unwrap().stop().await;
        site.config.builder.registries = vec![host.clone()];
        site.start_again().await;
        let admin = fleet(&site).await;
        let archive = project(&format!("{host}/base:1"));
        let path = begin(&admin, &archive).await;
        let mut live = log(&admin, &path, 0).await;
        Person::hears(&mut live, "pulling").await;
        assert_eq!(admin.ok(Method::GET, &path, None).await["state"], "building");
        let waits = begin(&admin, &project("scratch")).await;
        assert_eq!(admin.ok(Method::GET, &waits, None).await["state"], "waiting", "one at a time");
        assert_eq!(admin.ok(Method::POST, &format!("{path}/cancel"), None).await["state"], "cancelled");
        assert!(Person::hears_the_end(&mut live).await.contains(r#""state":"cancelled""#));
        assert_eq!(ended(&admin, &waits).await.1["state"], "done");
        assert_eq!(admin.status(Method::POST, &format!("{path}/cancel"), None).await, 409, "it has ended");
        clean(&site);
    }

    async fn builds_are_bounded_in_number_and_time_and_end_with_the_server(database: Database) {
        let host = silence().await;
        let registry = host.clone();
        let mut site = Site::start_with(database.0, |config| {
            config.builder.registries = vec![registry];
            config.builder.waiting = 1;
            config.builder.seconds = 2;
        })
        .await;
        let admin = fleet(&site).await;
        let archive = project(&format!("{host}/base:1"));
        let (first, second) = (begin(&admin, &archive).await, begin(&admin, &archive).await);
        let (status, problem) = admin
            .refused(Method::POST, BUILDS, Some(request(&archive)))
            .await;
        assert_eq!(status, 503, "{problem}");
        let (_, build) = ended(&admin, &first).await;
        assert_eq!(
            build["error"], "the build took longer than 2 seconds",
            "{build}"
        );
        Person::hears(&mut log(&admin, &second, 0).await, "pulling").await;
        site.restart().await;
        let admin = site.admin().await;
        let (_, build) = ended(&admin, &second).await;
        assert_eq!(build["state"], "failed", "{build}");
        assert!(
            build["error"]
                .as_str()
                .unwrap()
                .contains("the server was stopped"),
            "{build}"
        );
        clean(&site);
    }

    async fn a_hostile_archive_is_refused_and_leaves_nothing(database: Database) {
        let site = Site::start_with(database.0, |config| config.builder.project_bytes = 1 << 20).await;
        let admin = fleet(&site).await;
        let entry = |kind: u8, name: &str, link: &str, content: &[u8]| {
            let mut header = [0u8; 512];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[100..108].copy_from_slice(b"0000644\0");
            header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
            header[156] = kind;
            header[157..157 + link.len()].copy_from_slice(link.as_bytes());
            header[148..156].copy_from_slice(b"        ");
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            let mut all = header.to_vec();
            all.extend_from_slice(content);
            all.resize(all.len().next_multiple_of(512), 0);
            all
        };
        let hostile = [
            (entry(b'0', "../../evil", "", b"x"), "is not the name"),
            (entry(b'0', "/tmp/evil", "", b"x"), "is not the name"),
            (
                entry(b'2', "compose.yaml", "/etc/shadow", b""),
                "a link out of the project",
            ),
            (
                entry(b'1', "compose.yaml", "../../secret.key", b""),
                "is no file",
            ),
            (entry(b'3', "null", "", b""), "is no file"),
            (
                entry(b'0', "zeros", "", &vec![0; 2 << 20]),
                "larger than is taken",
            ),
            (
                entry(b'0', "compose.yaml", "", b"services:\n  a:\n    image: [\n"),
                "compose.yaml",
            ),
            (
                entry(
                    b'0',
                    "compose.yaml",
                    "",
                    b"services:\n  a:\n    build: ../..\n",
                ),
                "project",
            ),
        ];
        for (bytes, why) in hostile {
            let mut gzip = std::io::Cursor::new(Vec::new());
            gzipped(&mut gzip, &bytes);
            let (said, build) = ended(&admin, &begin(&admin, &gzip.into_inner()).await).await;
            let error = build["error"].as_str().unwrap_or_default();
            assert!(
                build["state"] == "failed" && error.contains(why),
                "{build} {said}"
            );
            assert!(
                !error.contains(site.config.data.to_str().unwrap()),
                "{error} says where things lie"
            );
            clean(&site);
        }
        assert!(
            !site.config.data.join("evil").exists()
                && !site.config.data.parent().unwrap().join("evil").exists()
        );
        let (_, build) = ended(&admin, &begin(&admin, b"no archive at all").await).await;
        assert!(
            build["error"].as_str().unwrap().contains("archive"),
            "{build}"
        );
        let (_, build) = ended(&admin, &begin(&admin, &project("127.0.0.1:1/base")).await).await;
        let error = build["error"].as_str().unwrap();
        assert!(
            error.contains("not among the registries"),
            "nobody is led into this network: {error}"
        );
        let (_, build) = ended(&admin, &begin(&admin, &project("scratch\nRUN id")).await).await;
        let error = build["error"].as_str().unwrap();
        assert!(
            error.contains("Dockerfile:2:1") && error.contains("needs a Docker or podman engine"),
            "{error}"
        );
    }
}

/// One stored block after the other (RFC 1951, section 3.2.4): nothing of the server's own code has a say.
fn gzipped(out: &mut impl Write, bytes: &[u8]) {
    out.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])
        .unwrap();
    let mut blocks = bytes.chunks(65_535).peekable();
    while let Some(block) = blocks.next() {
        let len = u16::try_from(block.len()).unwrap();
        out.write_all(&[u8::from(blocks.peek().is_none())]).unwrap();
        out.write_all(&len.to_le_bytes()).unwrap();
        out.write_all(&(!len).to_le_bytes()).unwrap();
        out.write_all(block).unwrap();
    }
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    out.write_all(&(!crc).to_le_bytes()).unwrap();
    out.write_all(&u32::try_from(bytes.len()).unwrap().to_le_bytes())
        .unwrap();
}

on_both_databases! {
    async fn a_malformed_build_is_refused_with_the_field_at_fault(database: Database) {
        let site = Site::start_with(database.0, |config| config.builder.archive_bytes = 64).await;
        let admin = fleet(&site).await;
        let archive = project("scratch");
        upload_blob(&admin, "harbour/project", &archive).await;
        upload_blob(&admin, "harbour/project", b"small").await;
        let good = request(b"small");
        let bad = |change: fn(&mut Value)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad
        };
        for (body, field) in [
            (request(b"never uploaded"), "project"),
            (bad(|body| body["targets"] = json!([])), "targets"),
            (
                bad(|body| body["targets"][0]["platform"] = json!("mars")),
                "targets[0].platform",
            ),
            (
                bad(|body| body["targets"] = json!([body["targets"][0], body["targets"][0]])),
                "targets[1].device_type",
            ),
            (bad(|body| body["file"] = json!("../compose.yaml")), "file"),
            (bad(|body| body["file"] = json!("/etc/passwd")), "file"),
            (
                bad(|body| body["variables"] = json!({"A": "x".repeat(5000)})),
                "variables.A",
            ),
            (bad(|body| body["release"] = json!("1")), "release"),
        ] {
            let (status, problem) = admin.refused(Method::POST, BUILDS, Some(body)).await;
            assert_eq!(
                (status.as_u16(), problem["field"].as_str()),
                (422, Some(field)),
                "{problem}"
            );
        }
        let (status, _) = admin
            .refused(Method::POST, BUILDS, Some(request(&archive)))
            .await;
        assert_eq!(status, 413, "more than 64 bytes");
        assert_eq!(admin.ok(Method::GET, BUILDS, None).await, json!([]));
    }
}
