//! The same over Docker's API.

use std::collections::HashMap;
use std::time::Instant;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, PortBinding};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder,
};
use futures_util::TryStreamExt as _;

use crate::daemon::{Daemon, Kind};
use crate::{Network, ROUNDS, median};

const IMAGE: &str = "lightship-bench";

/// Docker's median for each network; nothing where there is no Docker.
pub(crate) fn all(networks: &[Network]) -> Option<Vec<f64>> {
    if let Some(why) = Kind::Docker.missing() {
        println!("no Docker beside: {why}");
        return None;
    }
    let up = std::process::Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    assert!(up.unwrap().success());
    // What Docker uses where it can, as our engine does.
    let daemon = Daemon::start_on(Kind::Docker, "overlay2");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    Some(runtime.block_on(async {
        let path = daemon.socket().display().to_string();
        let docker = Docker::connect_with_unix(&path, 60, bollard::API_DEFAULT_VERSION).unwrap();
        let docker = docker.negotiate_version().await.unwrap();
        import(&docker).await;
        let mut medians = Vec::new();
        for network in networks {
            medians.push(measure(&docker, network).await);
        }
        medians
    }))
}

/// Busybox alone in an image, as ours.
async fn import(docker: &Docker) {
    let mut layer = tar::Builder::new(Vec::new());
    layer
        .append_path_with_name("/bin/busybox", "bin/sleep")
        .unwrap();
    let layer = layer.into_inner().unwrap();
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(IMAGE)
        .tag("latest")
        .build();
    let imported = docker.create_image(Some(options), Some(bollard::body_full(layer.into())), None);
    imported.try_collect::<Vec<_>>().await.unwrap();
}

async fn measure(docker: &Docker, network: &Network) -> f64 {
    let mut old = create(docker, 0, network).await;
    start(docker, &old).await;
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let begun = Instant::now();
        let new = create(docker, round, network).await;
        let options = StopContainerOptionsBuilder::default().t(10).build();
        docker.stop_container(&old, Some(options)).await.unwrap();
        start(docker, &new).await;
        remove(docker, &old).await;
        rounds.push(begun.elapsed());
        old = new;
    }
    remove(docker, &old).await;
    median(&mut rounds)
}

async fn create(docker: &Docker, round: usize, network: &Network) -> String {
    let ports = network.port.map(|port| {
        let binding = PortBinding {
            host_port: Some(port.to_string()),
            ..PortBinding::default()
        };
        HashMap::from([("80/tcp".to_owned(), Some(vec![binding]))])
    });
    let mode = if ports.is_some() { "bridge" } else { "none" };
    let body = ContainerCreateBody {
        image: Some(IMAGE.to_owned()),
        cmd: Some(["/bin/sleep", "1000"].map(str::to_owned).to_vec()),
        env: Some(vec![format!("ROUND={round}")]),
        stop_signal: Some("SIGKILL".to_owned()),
        exposed_ports: ports.as_ref().map(|_| vec!["80/tcp".to_owned()]),
        host_config: Some(HostConfig {
            network_mode: Some(mode.to_owned()),
            port_bindings: ports,
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let name = format!("web-{round}");
    let options = CreateContainerOptionsBuilder::default().name(&name).build();
    docker.create_container(Some(options), body).await.unwrap();
    name
}

async fn start(docker: &Docker, name: &str) {
    let started = docker.start_container(name, None::<StartContainerOptions>);
    started.await.unwrap();
}

async fn remove(docker: &Docker, name: &str) {
    let options = RemoveContainerOptionsBuilder::default().force(true).build();
    docker.remove_container(name, Some(options)).await.unwrap();
}
