//! A device for a test: a network of its own, a registry, a store, the engine, and images of busybox.

use std::future::Future;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lightshipd::engine::builtin::{Builtin, Options};
use lightshipd::engine::runtime::Position;
use lightshipd::engine::{
    Allowances, Component, Documents, Engine as _, Error, Instance, Presence,
};
use lightshipd::store::{Digest, Files, Store};

use crate::archive::{Archive, Image, architecture, image};
use crate::registry::Registry;
use crate::scratch;

/// A container that has not come to where a test wants it after so long never will.
const PATIENCE: Duration = Duration::from_secs(20);

/// Programs of busybox that the tests use.
const PROGRAMS: &str = "sh cat echo grep ls mkdir mknod mount touch stat id hostname sleep true false wget nc httpd \
    chmod head ps tty stty kill test trap sync dd tail wc ping ip env";

pub(crate) struct Device {
    pub(crate) engine: Builtin,
    pub(crate) registry: Registry,
    pub(crate) image: Image,
    pub(crate) folder: Arc<tempfile::TempDir>,
    pub(crate) allowances: Allowances,
}

/// Runs a test on a device in a network namespace of its own, or says why it cannot.
pub(crate) fn on_device<F: Future<Output = ()>>(test: impl FnOnce(Device) -> F + Send) {
    if let Some(why) = missing() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            #[expect(
                deprecated,
                reason = "its file-table flag, which is what makes it unsafe, is not given"
            )]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
            let up = std::process::Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status()
                .unwrap();
            assert!(up.success());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async { test(Device::new().await).await });
        });
        if let Err(panic) = run.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn missing() -> Option<&'static str> {
    if !scratch::is_root() {
        return Some("running containers needs root");
    }
    if busybox().is_none() {
        return Some("running containers needs busybox-static");
    }
    let works = |program: &str, arguments: &[&str]| {
        std::process::Command::new(program)
            .args(arguments)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !works("unshare", &["--mount", "--net", "--pid", "--fork", "true"]) {
        return Some("running containers needs namespaces");
    }
    let overlay = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !overlay.contains("overlay") {
        return Some("running containers needs overlayfs");
    }
    (!works("ip", &["-V"])).then_some("running containers needs iproute2")
}

/// A busybox without shared libraries.
fn busybox() -> Option<Vec<u8>> {
    let bytes = std::fs::read("/bin/busybox").ok()?;
    let interpreter = bytes
        .windows(8)
        .take(4096)
        .any(|window| window == b"/lib64/l" || window == b"/lib/ld-");
    (!interpreter).then_some(bytes)
}

/// The layer that all test images start with.
fn base() -> Vec<u8> {
    let busybox = busybox().unwrap();
    let mut archive = Archive::default()
        .folder("bin/")
        .program("bin/busybox", &busybox)
        .folder("etc/")
        .file(
            "etc/passwd",
            b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/srv:/bin/sh\n",
        )
        .file("etc/group", b"root:x:0:\nweb:x:1000:\ndialout:x:20:web\n")
        .entry("tmp/", b'5', "", 0o1777, b"")
        .symlink("way", "../../../../..")
        .folder("data/")
        .file("data/seed", b"from the image");
    for program in PROGRAMS.split_whitespace() {
        archive = archive.symlink(&format!("bin/{program}"), "busybox");
    }
    archive.finish()
}

impl Device {
    async fn new() -> Self {
        let folder = Arc::new(scratch::folder());
        let registry = Registry::start().await;
        let image = image(
            architecture(),
            &[base()],
            r#"{"Env":["FROM=image"],"Cmd":["/bin/sh"]}"#,
        );
        registry.add(&image);
        let allowances = Allowances::default();
        let engine = open(folder.path(), &registry, &allowances);
        Self {
            engine,
            registry,
            image,
            folder,
            allowances,
        }
    }

    /// Ends the daemon's part of the engine and starts it again, as an upgrade does.
    pub(crate) fn restart_daemon(&mut self) {
        self.engine = open(self.folder.path(), &self.registry, &self.allowances);
    }

    /// Fetches and stages a container of the test image.
    pub(crate) async fn stage(&self, name: &str, rest: &str) -> Result<Instance, Error> {
        self.stage_of("app", name, rest).await
    }

    /// The same, in another application.
    pub(crate) async fn stage_of(
        &self,
        application: &str,
        name: &str,
        rest: &str,
    ) -> Result<Instance, Error> {
        let component = self.fetch_of(application, name, rest).await?;
        self.engine.stage(&component).await?;
        Ok(component.instance)
    }

    /// Fetches it and no more.
    pub(crate) async fn fetch_of(
        &self,
        application: &str,
        name: &str,
        rest: &str,
    ) -> Result<Component, Error> {
        let component = self.component(application, name, rest);
        let spec = self.spec(application, rest);
        let documents = Documents {
            spec: spec.as_bytes(),
            settings: None,
        };
        self.engine
            .fetch(&component, documents, Arc::new(|_| {}))
            .await?;
        Ok(component)
    }

    fn spec(&self, application: &str, rest: &str) -> String {
        let repository = self.registry.repository();
        format!(r#"{{"version":1,"application":"{application}","image":"{repository}"{rest}}}"#)
    }

    fn component(&self, application: &str, name: &str, rest: &str) -> Component {
        let spec = Digest::of(self.spec(application, rest).as_bytes());
        let instance = Instance {
            name: name.to_owned(),
            digest: spec,
        };
        Component {
            instance,
            artifact: self.image.artifact,
            spec,
            settings: None,
        }
    }

    /// Stages and starts a container that runs this line of shell.
    pub(crate) async fn run(&self, name: &str, line: &str, rest: &str) -> Instance {
        let command = serde_json::to_string(&["/bin/sh", "-c", line]).unwrap();
        // Few of the tests' programs listen to a signal, and nobody should wait for that.
        let grace = if rest.contains("stop_grace_ms") {
            ""
        } else {
            r#","stop_grace_ms":300"#
        };
        let instance = self
            .stage(name, &format!(r#","command":{command}{grace}{rest}"#))
            .await
            .unwrap();
        self.engine.start(&instance).await.unwrap();
        instance
    }

    /// Runs a line of shell to its end, and returns what it said.
    pub(crate) async fn say(&self, line: &str, rest: &str) -> String {
        let instance = self
            .run(
                "job",
                line,
                &format!(r#","run":"job","restart":"no"{rest}"#),
            )
            .await;
        self.until(&instance, |presence| {
            matches!(presence, Presence::Completed | Presence::Exited)
        })
        .await;
        let said = self.output(&instance).await;
        self.engine.remove(&instance).await.unwrap();
        said
    }

    /// All that a container has said.
    pub(crate) async fn output(&self, instance: &Instance) -> String {
        let (mut at, mut text) = (Position::default(), String::new());
        loop {
            let (lines, next) = self.engine.log(instance, at).await.unwrap();
            if lines.is_empty() {
                return text;
            }
            at = next;
            lines
                .iter()
                .for_each(|line| text.push_str(&format!("{}\n", line.text)));
        }
    }

    /// Waits until a container has said something.
    pub(crate) async fn until_said(&self, instance: &Instance, what: &str) -> String {
        self.until_true(|| async {
            let said = self.output(instance).await;
            said.contains(what).then_some(said)
        })
        .await
    }

    pub(crate) async fn until(
        &self,
        instance: &Instance,
        wanted: impl Fn(Presence) -> bool,
    ) -> Presence {
        self.until_true(|| async {
            let presence = self.engine.probe(instance).await.unwrap();
            wanted(presence).then_some(presence)
        })
        .await
    }

    /// Looks again each time that the engine says that something changed, and now and then.
    async fn until_true<T, F: Future<Output = Option<T>>>(&self, mut look: impl FnMut() -> F) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "it never came to that");
            let _ = tokio::time::timeout(Duration::from_millis(20), self.engine.changed()).await;
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

impl Drop for Device {
    /// Leaves nothing running, whatever became of the test.
    fn drop(&mut self) {
        let run = self.folder.path().join("run");
        for entry in std::fs::read_dir(run).into_iter().flatten().flatten() {
            let state = std::fs::read(entry.path().join("state")).unwrap_or_default();
            let Ok(state) = serde_json::from_slice::<serde_json::Value>(&state) else {
                continue;
            };
            let alive = std::fs::File::open(entry.path().join("alive"));
            let held = alive.is_ok_and(|file| {
                rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockShared).is_err()
            });
            let shim = state["shim"]
                .as_i64()
                .and_then(|shim| rustix::process::Pid::from_raw(shim as i32));
            if let (true, Some(shim)) = (held, shim) {
                let _ = rustix::process::kill_process(shim, rustix::process::Signal::KILL);
            }
            remove_cgroups(&entry.file_name().to_string_lossy());
        }
    }
}

fn remove_cgroups(id: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let controllers = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    for folder in controllers
        .chain([root.to_owned()])
        .map(|path| path.join("lightship").join(id))
    {
        for _ in 0..200 {
            if !folder.exists() || std::fs::remove_dir(&folder).is_ok() {
                break;
            }
            // The kernel takes a moment to bury a killed container.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn open(folder: &Path, registry: &Registry, allowances: &Allowances) -> Builtin {
    let store = Store::open(&folder.join("store"), Files::default()).unwrap();
    let options = Options {
        run: folder.join("run"),
        logs: folder.join("logs"),
        program: PathBuf::from(env!("CARGO_BIN_EXE_lightship-shim")),
        allowances: allowances.clone(),
        addresses: Ipv4Addr::new(10, 118, 0, 0),
        cgroup_parent: "lightship".to_owned(),
        provide: None,
    };
    Builtin::open(store, registry.access(None), options).unwrap()
}
