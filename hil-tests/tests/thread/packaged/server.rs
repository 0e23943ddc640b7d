//! The server and the command line as packages.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::machine::Machine;
use super::{missing, pack};
use crate::stage::tell;

const UNIT: &str = "lightship-server";
/// Not where a server listens that nobody told otherwise.
const LISTEN: &str = "127.0.0.1:7555";

/// The command line that cargo built, without what only a debugger reads.
fn stripped(program: &Path, into: &Path) -> Option<String> {
    let built = program.with_file_name("lightship");
    if !built.exists() {
        return Some("lightship is not built; `cargo test --workspace` builds it".to_owned());
    }
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(into.join("lightship")).arg(built);
    match strip.status() {
        Ok(status) if status.success() => None,
        _ => Some("strip does not run (Debian: binutils)".to_owned()),
    }
}

#[test]
fn the_server_s_package_serves_a_fleet_that_outlives_an_upgrade_and_a_removal() {
    tell(async |program| {
        let folder = tempfile::tempdir().unwrap();
        if let Some(why) = missing(&program).or_else(|| stripped(&program, folder.path())) {
            eprintln!("SKIPPED: {why}");
            return;
        }
        let both = |version: &str| {
            ["lightship", UNIT].map(|package| pack(package, folder.path(), folder.path(), version))
        };
        let (first, second) = (both("1.0.0"), both("1.1.0"));
        let machine = Machine::boot();
        let options = format!("OPTIONS=--data=/var/lib/lightship-server --listen={LISTEN}\n");
        fs::write(machine.path("etc/default/lightship-server"), options).unwrap();

        machine.install(&[&first[0], &first[1]]);
        log_in(&machine).await;
        machine.must(&[
            "lightship",
            "--config-dir=/cli",
            "fleet",
            "create",
            "harbour",
        ]);
        let before = machine.service(UNIT);

        machine.install(&[&second[0], &second[1]]);
        assert_ne!(machine.service(UNIT), before);
        let fleets = ["lightship", "--config-dir=/cli", "fleet", "list"];
        machine
            .until("the fleet after the upgrade", async || {
                machine
                    .run(&fleets)
                    .is_some_and(|list| list.contains("harbour"))
            })
            .await;

        machine.must(&["dpkg", "--remove", UNIT, "lightship"]);
        assert!(machine.run(&["systemctl", "is-active", UNIT]).is_none());
        assert!(machine.run(&fleets).is_none());
        machine.must(&["test", "-e", "/var/lib/lightship-server/secret.key"]);
    });
}

/// As a person does it who reads what the server said when it started.
async fn log_in(machine: &Machine) {
    let mut fingerprint = None;
    machine
        .until("the server's first words", async || {
            let said = machine.journal();
            let mut words = said.split_whitespace();
            let named = words.by_ref().any(|word| word == "fingerprint");
            fingerprint = named.then(|| words.next().unwrap().to_owned());
            fingerprint.is_some()
        })
        .await;
    let fingerprint = fingerprint.unwrap();
    let line = format!(
        "lightship --config-dir=/cli login https://{LISTEN} --fingerprint {fingerprint} --password-stdin < /var/lib/lightship-server/admin-password"
    );
    machine.must(&["sh", "-c", &line]);
}
