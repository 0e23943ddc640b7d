//! Where stories are told: in a network of their own, with patience that ends.

use std::path::PathBuf;
use std::time::Duration;

use crate::device::{self, Device};
use crate::shore::Shore;

/// Longest time for one step of a story, in seconds.
pub(crate) const PATIENCE_S: u64 = 120;

/// Looks until it is so.
pub(crate) async fn until(what: &str, device: &Device, look: impl AsyncFnMut() -> bool) {
    patiently(what, || device.said(), look).await;
}

/// The same where the daemon speaks elsewhere.
pub(crate) async fn patiently(
    what: &str,
    said: impl Fn() -> String,
    mut look: impl AsyncFnMut() -> bool,
) {
    for _ in 0..PATIENCE_S * 4 {
        if look().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("{what} does not come about; the daemon said:\n{}", said());
}

/// A device with these lines in its configuration that is registered and connected.
pub(crate) async fn registered(program: PathBuf, lines: &str) -> (Shore, Device) {
    let shore = Shore::start().await;
    let mut device = Device::new(program, &shore, lines).await;
    device.start();
    until("the registration", &device, async || {
        !device.configuration().contains("provisioning_key") && shore.is_online().await
    })
    .await;
    (shore, device)
}

/// Why no story can be told here.
pub(crate) fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("containers need root");
    }
    if !std::path::Path::new("/bin/busybox").exists() {
        return Some("busybox-static is not installed");
    }
    let ip = std::process::Command::new("ip").arg("-V").output();
    if ip.is_err() {
        return Some("iproute2 is not installed");
    }
    None
}

/// Tells a story in a network namespace of its own, so that nothing of it shows on this machine; or says why not.
pub(crate) fn tell<F: Future<Output = ()>>(story: impl FnOnce(PathBuf) -> F + Send) {
    if let Some(why) = missing() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let Some(program) = device::program() else {
        eprintln!("SKIPPED: lightshipd is not built; `cargo test --workspace` builds it");
        return;
    };
    apart(|| story(program));
}

/// Runs this in a network namespace of its own.
pub(crate) fn apart<F: Future<Output = ()>>(story: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let told = scope.spawn(|| {
            #[expect(
                deprecated,
                reason = "its file-table flag, which is what makes it unsafe, is not given"
            )]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
            let up = std::process::Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status();
            assert!(up.unwrap().success());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(story());
        });
        if let Err(panic) = told.join() {
            std::panic::resume_unwind(panic);
        }
    });
}
