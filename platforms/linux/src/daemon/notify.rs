//! Tells systemd that the daemon is ready, that it is alive, and that it is about to end (sd_notify(3)).

use std::convert::Infallible;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

/// The service manager, where there is one.
#[derive(Debug, Default)]
pub(super) struct Systemd {
    to: Option<(UnixDatagram, SocketAddr)>,
    beat: Option<Interval>,
}

impl Systemd {
    /// Finds it. Must be called within a tokio runtime with time.
    pub(super) fn find() -> Self {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let address = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&path),
        };
        let to = UnixDatagram::unbound().and_then(|socket| Ok((socket, address?)));
        let pid = std::env::var("WATCHDOG_PID").ok();
        let is_ours = pid.is_none_or(|pid| pid == std::process::id().to_string());
        let period = std::env::var("WATCHDOG_USEC")
            .ok()
            .and_then(|text| text.parse().ok());
        let period = period.filter(|us: &u64| is_ours && *us >= 2);
        let beat = period.map(|us| {
            // Twice in each period, as sd_watchdog_enabled(3) advises.
            let mut beat = interval(Duration::from_micros(us / 2));
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            beat
        });
        Self { to: to.ok(), beat }
    }

    /// Says something; that nobody listens is no failure.
    pub(super) fn say(&self, what: &str) {
        if let Some((socket, address)) = &self.to {
            let _ = socket.send_to_addr(what.as_bytes(), address);
        }
    }

    /// Gives a sign of life whenever one is due, as long as this is being waited for.
    ///
    /// The driver waits for it in its own loop and nowhere else: a loop that hangs gives no sign.
    pub(super) async fn live(&mut self) -> Infallible {
        let Some(beat) = &mut self.beat else {
            return std::future::pending().await;
        };
        loop {
            beat.tick().await;
            if let Some((socket, address)) = &self.to {
                let _ = socket.send_to_addr(b"WATCHDOG=1", address);
            }
        }
    }
}
