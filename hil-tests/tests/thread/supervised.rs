//! The daemon under a service manager: it says that it is ready, that it lives and that it ends, and ends when it is asked to.

use std::cell::RefCell;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::device::Device;
use crate::shore::Shore;
use crate::{tell, until};

/// What the unit of the package waits for an end, at most (`TimeoutStopSec`).
const STOP: Duration = Duration::from_secs(30);

/// systemd's end of sd_notify(3).
struct Listener {
    socket: UnixDatagram,
    heard: RefCell<Vec<String>>,
}

impl Listener {
    fn new(at: &PathBuf) -> Self {
        let socket = UnixDatagram::bind(at).unwrap();
        socket.set_nonblocking(true).unwrap();
        let heard = RefCell::default();
        Self { socket, heard }
    }

    /// How often it has heard this so far.
    fn times(&self, what: &str) -> usize {
        let mut heard = self.heard.borrow_mut();
        let mut buffer = [0; 256];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        heard.iter().filter(|heard| *heard == what).count()
    }
}

/// Asks it to end, and waits until it has.
async fn end(device: &mut Device) {
    let begun = Instant::now();
    device.terminate();
    let mut status = device.ended();
    while status.is_none() && begun.elapsed() < STOP {
        tokio::time::sleep(Duration::from_millis(50)).await;
        status = device.ended();
    }
    assert_eq!(
        status.and_then(|status| status.code()),
        Some(0),
        "{}",
        device.said()
    );
}

/// Whether the fleet holds a connection of the device; one that it heard of a moment ago is online without.
async fn is_linked(shore: &Shore) -> bool {
    let device = shore.device().await.unwrap_or_default();
    device["transport"].as_str() == Some("mqtt")
}

#[test]
fn a_service_manager_hears_that_it_is_ready_lives_and_ends_and_containers_run_on() {
    tell(under_a_manager);
}

async fn under_a_manager(program: PathBuf) {
    let shore = Shore::start().await;
    let mut device = Device::new(
        program,
        &shore,
        "tunnel = \"in-process\"\nprefer_again_s = 2",
    )
    .await;
    let at = device.path("notify");
    let systemd = Listener::new(&at);
    let at = at.display().to_string();
    let variables = [("NOTIFY_SOCKET", at.as_str()), ("WATCHDOG_USEC", "200000")];
    device.start_with(&variables);
    until("readiness", &device, async || systemd.times("READY=1") == 1).await;
    until("the registration", &device, async || {
        shore.is_online().await
    })
    .await;
    until("the way into the tunnel", &device, async || {
        is_linked(&shore).await
    })
    .await;
    let before = systemd.times("WATCHDOG=1");
    let release = shore
        .push("1.0.0", &["/bin/busybox", "sleep", "3001"])
        .await;
    until("the release", &device, async || shore.shows(&release).await).await;
    // All through a download, a start and a trial.
    until("signs of life", &device, async || {
        systemd.times("WATCHDOG=1") >= before + 10
    })
    .await;
    let container = device.process("sleep 3001").unwrap();
    assert_eq!(systemd.times("STOPPING=1"), 0);

    end(&mut device).await;
    assert_eq!(systemd.times("STOPPING=1"), 1);
    assert_eq!(device.process("sleep 3001"), Some(container));
    // The fleet knows what runs, and need not wait for signs of life that do not come.
    until("the end, at the fleet", &device, async || {
        !is_linked(&shore).await
    })
    .await;
    assert!(shore.shows(&release).await);

    device.start_with(&variables);
    until("readiness again", &device, async || {
        systemd.times("READY=1") == 2
    })
    .await;
    until("the connection again", &device, async || {
        shore.is_online().await
    })
    .await;
    assert_eq!(device.process("sleep 3001"), Some(container));

    // With nobody to say farewell to, too.
    shore.https.cut();
    shore.tunnel.cut();
    end(&mut device).await;
    assert_eq!(systemd.times("STOPPING=1"), 2);
    assert_eq!(device.process("sleep 3001"), Some(container));
}
