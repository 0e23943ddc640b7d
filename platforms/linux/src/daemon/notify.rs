//! Tells systemd that the daemon is ready, that it is alive, and that it is about to end (sd_notify(3)).

use std::convert::Infallible;
use std::ffi::OsString;
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
        let text = |name| std::env::var(name).ok();
        let pid = text("WATCHDOG_PID");
        let is_ours = pid.is_none_or(|pid| pid == std::process::id().to_string());
        let period = text("WATCHDOG_USEC").filter(|_| is_ours);
        Self::at(
            std::env::var_os("NOTIFY_SOCKET"),
            period.and_then(|text| text.parse().ok()),
        )
    }

    /// At this socket, wanting a sign of life within each period of so many microseconds.
    fn at(socket: Option<OsString>, period_us: Option<u64>) -> Self {
        let Some(path) = socket else {
            return Self::default();
        };
        let address = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&path),
        };
        let to = UnixDatagram::unbound().and_then(|socket| {
            // A manager that does not listen keeps nobody from working.
            socket.set_nonblocking(true)?;
            Ok((socket, address?))
        });
        let beat = period_us.filter(|us| *us >= 2).map(|us| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loop_that_waits_gives_signs_of_life_and_one_that_does_not_gives_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let manager = tokio::net::UnixDatagram::from_std(manager).unwrap();
        let mut systemd = Systemd::at(Some(path.into_os_string()), Some(2000));
        systemd.say("READY=1");
        let mut buffer = [0; 64];
        let length = manager.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
        // Nobody waits: nothing is said, however long it takes.
        tokio::time::timeout(Duration::from_millis(20), manager.recv(&mut buffer))
            .await
            .unwrap_err();
        for _ in 0..3 {
            let length = tokio::select! {
                never = systemd.live() => match never {},
                length = manager.recv(&mut buffer) => length.unwrap(),
            };
            assert_eq!(&buffer[..length], b"WATCHDOG=1");
        }
    }

    #[tokio::test]
    async fn without_a_manager_nothing_is_said_and_nothing_fails() {
        let mut systemd = Systemd::at(None, Some(2000));
        systemd.say("READY=1");
        let live = tokio::time::timeout(Duration::from_millis(5), systemd.live());
        assert!(live.await.is_err());
    }
}
