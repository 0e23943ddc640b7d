//! Health tests that the daemon does itself.
//!
//! Docker has no word for `http` and `tcp`: they are done from the host, which is on every bridge.
//! Podman leaves its health checks to timers of systemd, which a device need not have.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::ExecConfig;
use futures_util::StreamExt as _;
use lightship_spec::container::{Health, HealthTest, NetworkMode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::watch::look;
use super::{Inner, Plan, container_name};
use crate::engine::Presence;
use crate::store::Record;

/// The first line of an answer is no longer than this.
const STATUS_LINE_BYTES: usize = 64;

/// Begins to test a container that was started.
pub(super) fn begin(inner: &Arc<Inner>, plan: &Plan) {
    let Some(health) = plan.spec.health.clone() else {
        return;
    };
    if !inner.tests_itself(&health.test) {
        return;
    }
    let task = tokio::spawn(run(Arc::downgrade(inner), plan.record.clone(), health));
    inner
        .watch
        .begin_probe(plan.record.id(), task.abort_handle());
}

/// Takes up the test of a container that runs since before the daemon was started.
pub(super) async fn adopt(inner: &Arc<Inner>, record: &Record) {
    let presence = inner.presence(record).await;
    if matches!(presence, Ok(Presence::Starting | Presence::Healthy))
        && let Ok(plan) = inner.plan(record.clone()).await
    {
        begin(inner, &plan);
    }
}

async fn run(inner: Weak<Inner>, record: Record, health: Health) {
    let began = Instant::now();
    let start_period = Duration::from_millis(health.start_period_ms);
    let mut failures = 0;
    let mut healthy = false;
    loop {
        let starting = !healthy && began.elapsed() < start_period;
        let pause = if starting {
            health.start_interval_ms
        } else {
            health.interval_ms
        };
        sleep(Duration::from_millis(pause)).await;
        let Some(engine) = inner.upgrade() else {
            return;
        };
        let limit = Duration::from_millis(health.timeout_ms);
        let passed = timeout(limit, test(&engine, &record, &health.test)).await == Ok(Some(()));
        let presence = if passed {
            healthy = true;
            failures = 0;
            Presence::Healthy
        } else {
            failures += u32::from(!starting);
            if failures < health.retries {
                continue;
            }
            Presence::Unhealthy
        };
        if engine.watch.set_probed(record.id(), presence) {
            look(&inner).await;
        }
    }
}

impl Inner {
    /// Whether the daemon does this test, and not the engine.
    pub(super) fn tests_itself(&self, test: &HealthTest) -> bool {
        match test {
            HealthTest::None => false,
            HealthTest::Http { .. } | HealthTest::Tcp { .. } => true,
            HealthTest::Exec(_) | HealthTest::Shell(_) => self.is_podman,
        }
    }

    /// Runs a program in the container; its exit status 0 is success.
    async fn run_inside(&self, record: &Record, words: Vec<String>) -> Option<()> {
        let config = ExecConfig {
            cmd: Some(words),
            // Attached, so that the end of its output tells of its end.
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let exec = self
            .docker
            .create_exec(&container_name(record), config)
            .await
            .ok()?;
        let started = self
            .docker
            .start_exec(&exec.id, None::<StartExecOptions>)
            .await
            .ok()?;
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(Ok(_)) = output.next().await {}
        }
        let ended = self.docker.inspect_exec(&exec.id).await.ok()?;
        (ended.exit_code == Some(0)).then_some(())
    }
}

async fn test(inner: &Inner, record: &Record, test: &HealthTest) -> Option<()> {
    match test {
        HealthTest::Tcp { port } => {
            let address = address(inner, record).await?;
            let connected = TcpStream::connect((address.as_str(), *port)).await;
            connected.ok().map(|_| ())
        }
        HealthTest::Http { port, path } => http(&address(inner, record).await?, *port, path).await,
        HealthTest::Exec(words) => inner.run_inside(record, words.clone()).await,
        HealthTest::Shell(line) => {
            let words = ["/bin/sh", "-c", line].map(str::to_owned);
            inner.run_inside(record, words.to_vec()).await
        }
        HealthTest::None => None,
    }
}

/// Where the container answers, seen from the host.
async fn address(inner: &Inner, record: &Record) -> Option<String> {
    let plan = inner.plan(record.clone()).await.ok()?;
    let container = match &plan.spec.network.mode {
        NetworkMode::Host => return Some("127.0.0.1".to_owned()),
        NetworkMode::None => return None,
        NetworkMode::Service(_) => {
            let mode = inner.network_mode(&plan).await.ok()?;
            mode.strip_prefix("container:")?.to_owned()
        }
        NetworkMode::Bridge(_) => plan.container(),
    };
    let state = inner.inspect(&container).await.ok()??;
    let networks = state.network_settings?.networks?;
    let addresses = networks
        .into_values()
        .filter_map(|network| network.ip_address);
    addresses.into_iter().find(|address| !address.is_empty())
}

async fn http(address: &str, port: u16, path: &str) -> Option<()> {
    let mut stream = TcpStream::connect((address, port)).await.ok()?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    while answer.len() < STATUS_LINE_BYTES && !answer.contains(&b'\n') {
        let mut piece = [0; STATUS_LINE_BYTES];
        let length = stream.read(&mut piece).await.ok()?;
        if length == 0 {
            break;
        }
        answer.extend_from_slice(&piece[..length]);
    }
    let answer = String::from_utf8_lossy(&answer);
    let status: u16 = answer.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    (200..400).contains(&status).then_some(())
}
