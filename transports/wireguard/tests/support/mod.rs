//! A network of its own for a test, and WireGuard as others wrote it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lightship_wireguard::{PresharedKey, PublicKey, SecretKey};
use wireguard_control::{Backend, Device, DeviceUpdate, Key, KeyPair, PeerConfigBuilder};

/// Says that a test, or a part of it, did not run.
pub(crate) fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// Runs `body` in a network namespace of its own, in a process of its own: this test, started again.
///
/// `name` is the test's. Without the right to make a namespace, or without the `tools`, the test is skipped.
pub(crate) fn isolated(name: &str, tools: &[&str], body: impl FnOnce()) {
    const MARK: &str = "LIGHTSHIP_TEST_ISOLATED";
    if std::env::var_os(MARK).is_some_and(|mark| mark == name) {
        run("ip", &["link", "set", "lo", "up"]);
        return body();
    }
    for tool in ["unshare", "ip"].iter().chain(tools) {
        if !is_there(tool) {
            return skip(&format!("there is no `{tool}` here"));
        }
    }
    let allowed = Command::new("unshare")
        .args(["--net", "true"])
        .stderr(Stdio::null())
        .status();
    if !allowed.is_ok_and(|status| status.success()) {
        return skip("this user may not make a network namespace");
    }
    let status = Command::new("unshare")
        .arg("--net")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(MARK, name)
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed in its namespace");
}

pub(crate) fn is_there(tool: &str) -> bool {
    let folders = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];
    folders
        .iter()
        .any(|folder| Path::new(folder).join(tool).exists())
}

pub(crate) fn run(program: &str, words: &[&str]) {
    let status = Command::new(program).args(words).status().unwrap();
    assert!(status.success(), "{program} {words:?}: {status}");
}

/// Runs a future on a runtime of its own, for a minute at most.
pub(crate) fn block_on<T>(what: impl Future<Output = T>) -> T {
    block_on_for(Duration::from_secs(60), what)
}

/// Runs a future on a runtime of its own, for so long at most.
pub(crate) fn block_on_for<T>(limit: Duration, what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let done = runtime.block_on(async { tokio::time::timeout(limit, what).await });
    done.unwrap_or_else(|_| panic!("within {limit:?}"))
}

/// A WireGuard interface that is not Lightship's.
pub(crate) struct Foreign {
    pub(crate) name: String,
    backend: Backend,
    process: Option<Child>,
}

/// What a [`Foreign`] interface is to be.
pub(crate) struct Setting<'a> {
    pub(crate) secret: &'a SecretKey,
    pub(crate) peer: PublicKey,
    pub(crate) preshared: &'a PresharedKey,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) listen: Option<u16>,
    pub(crate) address: Ipv4Addr,
    pub(crate) peer_address: Ipv4Addr,
}

impl Foreign {
    /// Debian's wireguard-go.
    pub(crate) fn go(name: &str, setting: &Setting<'_>) -> Self {
        let process = Command::new("wireguard-go")
            .args(["-f", name])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let socket = PathBuf::from(format!("/var/run/wireguard/{name}.sock"));
        let started = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "wireguard-go opens its socket"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Self::raise(name, Backend::Userspace, Some(process), setting)
    }

    /// The kernel's.
    pub(crate) fn kernel(name: &str, setting: &Setting<'_>) -> Self {
        Self::raise(name, Backend::Kernel, None, setting)
    }

    fn raise(name: &str, backend: Backend, process: Option<Child>, setting: &Setting<'_>) -> Self {
        let foreign = Self {
            name: name.to_owned(),
            backend,
            process,
        };
        let mut peer = PeerConfigBuilder::new(&key(&setting.peer.0))
            .set_preshared_key(key(&setting.preshared.0))
            .replace_allowed_ips()
            .add_allowed_ip(IpAddr::V4(setting.peer_address), 32);
        if let Some(endpoint) = setting.endpoint {
            peer = peer.set_endpoint(endpoint);
        }
        let mut update = DeviceUpdate::new()
            .set_keypair(KeyPair::from_private(key(&setting.secret.0)))
            .add_peer(peer);
        if let Some(port) = setting.listen {
            update = update.set_listen_port(port);
        }
        update.apply(&name.parse().unwrap(), backend).unwrap();
        let (own, other) = (
            setting.address.to_string(),
            format!("{}/32", setting.peer_address),
        );
        run("ip", &["addr", "add", &own, "peer", &other, "dev", name]);
        run("ip", &["link", "set", name, "mtu", "1420", "up"]);
        foreign
    }

    /// Whether a handshake was completed.
    pub(crate) fn has_handshake(&self) -> bool {
        let device = Device::get(&self.name.parse().unwrap(), self.backend).unwrap();
        device
            .peers
            .iter()
            .any(|peer| peer.stats.last_handshake_time.is_some())
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        match &mut self.process {
            Some(process) => {
                let _ = process.kill();
                let _ = process.wait();
                let _ = std::fs::remove_file(format!("/var/run/wireguard/{}.sock", self.name));
            }
            None => {
                let device = Device::get(&self.name.parse().unwrap(), self.backend);
                let _ = device.and_then(Device::delete);
            }
        }
    }
}

pub(crate) fn key(bytes: &[u8; 32]) -> Key {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Key::from_hex(&hex).unwrap()
}
