//! What schemathesis makes up from the OpenAPI document never makes the server fail.
//!
//! `cargo xtask test` installs it; a little more than half a minute of requests, the same each time.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::json;

use crate::gadget::{Gadget, provisioning_key};
use crate::publisher::Publisher;
use crate::site::{Database, Site, on_both_databases};

/// Seconds of made-up requests.
const SECONDS: &str = "20";
/// What ends the session of whoever asks, removes what the others need, or never ends.
const APART: [&str; 7] = [
    "logOut",
    "watchFleet",
    "followBuild",
    "deleteFleet",
    "deleteDevice",
    "moveDevice",
    "invalidateRelease",
];
/// Of these, the ones that come last.
const LAST: [&str; 4] = [
    "invalidateRelease",
    "moveDevice",
    "deleteDevice",
    "deleteFleet",
];

fn schemathesis() -> Option<PathBuf> {
    let own = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/tools/schemathesis/bin/schemathesis"
    );
    [own, "/usr/local/bin/schemathesis", "/usr/bin/schemathesis"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
}

on_both_databases! {
    async fn no_made_up_request_makes_the_server_fail(database: Database) {
        let Some(tool) = schemathesis() else {
            eprintln!("SKIPPED: schemathesis is not installed: `cargo xtask test` installs it");
            return;
        };
        let free = "127.0.0.1:0".parse().unwrap();
        let site = Site::start_with(database.0, |config| config.http = Some(free)).await;
        let http = site.server.as_ref().unwrap().http().unwrap();
        let admin = site.admin().await;
        let fleet = json!({"name": "harbour"});
        admin.ok(Method::POST, "/api/v1/fleets", Some(fleet)).await;
        let publisher = Publisher::of(&admin, "harbour").await;
        publisher.upload_root(&admin).await;
        publisher.push(&admin, "1.0.0", b"image", true).await;
        let key = provisioning_key(&admin, "harbour", 1).await;
        let device = Gadget::registered(&site, 1, &key).await.uuid;
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("schemathesis.toml");
        let parameters = format!(
            "[parameters]\n\"path.fleet\" = \"harbour\"\n\"path.device\" = \"{device}\"\n\"path.release\" = 1\n\"query.follow\" = false\n"
        );
        std::fs::write(&config, parameters).unwrap();
        let token = admin.token.clone().unwrap();
        let apart = APART
            .iter()
            .flat_map(|name| ["--exclude-operation-id", name]);
        let last = LAST
            .iter()
            .flat_map(|name| ["--include-operation-id", name]);
        for (seconds, chosen) in [(SECONDS, apart.collect()), ("5", last.collect::<Vec<_>>())] {
            let mut command = Command::new(&tool);
            let config = config.to_str().unwrap();
            command.args(["--config-file", config, "run"]);
            command.arg(format!("http://{http}/api/v1/openapi.json"));
            command.args(["--header", &format!("Authorization: Bearer {token}")]);
            command.args(["--checks", "not_a_server_error", "--max-time", seconds]);
            command
                .args(["--seed", "7", "--request-timeout", "20"])
                .args(&chosen);
            command.args([
                "--continue-on-failure",
                "--no-color",
                "--phases",
                "coverage,fuzzing",
            ]);
            command.args(["--request-retries", "3"]);
            let said = tokio::task::block_in_place(|| run(&mut command, folder.path()));
            assert!(said.0, "{}", said.1);
            assert!(said.1.contains("passed"), "nothing was tried: {}", said.1);
        }
    }
}

/// Whether it ended well, and what it said.
fn run(command: &mut Command, folder: &Path) -> (bool, String) {
    let out = command.current_dir(folder).stdin(Stdio::null()).output();
    let out = out.unwrap();
    let said = [out.stdout, out.stderr].concat();
    (
        out.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}
