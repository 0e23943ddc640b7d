//! The Docker engine before a real Docker and a real podman.
//!
//! Each test runs in a network namespace of its own, with an engine of its own on folders of its own, so
//! nothing of the machine's engines is touched and nothing is left.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod apart;
mod daemon;
mod registry;
mod scenario;

use apart::apart;
use daemon::Kind;

#[test]
fn docker_runs_what_a_spec_says() {
    within_a_namespace("docker_runs_what_a_spec_says", Kind::Docker);
}

#[test]
fn podman_runs_what_a_spec_says() {
    within_a_namespace("podman_runs_what_a_spec_says", Kind::Podman);
}

fn within_a_namespace(test: &str, kind: Kind) {
    apart(test, kind, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(scenario::run(kind));
    });
}
