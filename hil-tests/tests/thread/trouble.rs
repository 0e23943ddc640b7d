//! Registries that are down or lie, images that are not for this device, disks that are full or read-only: each is said, and what runs runs on.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use lightship_core::id::Digest;
use lightship_core::target::Artifact;
use serde_json::json;

use crate::device::Device;
use crate::mounts::{mount, own_mounts, unmount};
use crate::registry::{Manner, Registry, own_architecture};
use crate::shore::Shore;
use crate::{tell, until};

/// A device, what it pulls from, and what it runs.
pub(crate) struct Scene {
    pub(crate) shore: Shore,
    pub(crate) registry: Registry,
    pub(crate) device: Device,
    /// The release that is committed, and what only its container's command line holds.
    running: Option<(Digest, String)>,
}

impl Scene {
    pub(crate) async fn new(program: PathBuf) -> Self {
        let shore = Shore::start().await;
        let registry = Registry::start().await;
        let lines = format!(
            "tunnel = \"off\"\nplain_registries = [\"{}\"]",
            registry.address
        );
        let device = Device::new(program, &shore, &lines).await;
        Self {
            shore,
            registry,
            device,
            running: None,
        }
    }

    /// An image of its own in the registry.
    ///
    /// The fleet takes no release whose images it has not, wherever devices are to pull them from.
    pub(crate) async fn image(&self, number: u8, architecture: &str, bytes: usize) -> Artifact {
        self.known(self.registry.image(architecture, number, bytes))
            .await
    }

    /// Tells the fleet of an image.
    async fn known(&self, [layer, config, manifest]: [Vec<u8>; 3]) -> Artifact {
        self.shore.upload(&layer).await;
        self.shore.upload(&config).await;
        self.shore.keep_manifest(manifest).await
    }

    /// Pushes a release of an image of its own, with so many bytes in it.
    async fn push(&self, number: u8, architecture: &str, bytes: usize) -> (Digest, String) {
        let artifact = self.image(number, architecture, bytes).await;
        self.release(number, artifact).await
    }

    /// Pushes a release of this image.
    async fn release(&self, number: u8, artifact: Artifact) -> (Digest, String) {
        let seconds = (1000 + u32::from(number)).to_string();
        let command = ["/bin/busybox", "sleep", seconds.as_str()];
        let more = json!({"image": self.registry.repository()});
        let version = format!("{number}.0.0");
        let pushed = self.shore.push_image(&version, artifact, &command, more);
        (pushed.await.0, format!("sleep {seconds}"))
    }

    /// Waits until a release is committed.
    pub(crate) async fn committed(&mut self, release: (Digest, String)) {
        until("the commit", &self.device, async || {
            self.shore.shows(&release.0).await && self.device.runs(&release.1)
        })
        .await;
        self.running = Some(release);
    }

    /// Waits until the daemon has said all of this after `from`, and looks whether what was committed runs on.
    async fn said(&self, from: usize, words: &[&str]) {
        until(&words.join(" and "), &self.device, async || {
            let said = self.device.said();
            words.iter().all(|words| said[from..].contains(words))
        })
        .await;
        self.runs_on().await;
    }

    async fn runs_on(&self) {
        let (release, command) = self.running.as_ref().unwrap();
        assert!(self.device.runs(command), "{}", self.device.said());
        assert!(self.shore.shows(release).await, "{}", self.device.said());
    }

    /// The power goes and comes back: what was committed is started again, whatever the disk does.
    async fn comes_back(&mut self) {
        self.device.kill_with_containers();
        let (_, command) = self.running.clone().unwrap();
        assert!(!self.device.runs(&command));
        self.device.start();
        until(
            "the release after the power was gone",
            &self.device,
            async || self.device.runs(&command),
        )
        .await;
    }

    pub(crate) fn mark(&self) -> usize {
        self.device.said().len()
    }
}

#[test]
fn a_registry_that_is_down_or_lies_and_an_image_for_another_machine_leave_the_old_release_running()
{
    tell(async |program| {
        let mut scene = Scene::new(program).await;
        scene.device.start();
        let first = scene.push(1, own_architecture(), 1000).await;
        scene.committed(first).await;
        let troubles = [
            (2, Manner::Down, "failure: Network"),
            (3, Manner::OtherBytes, "failure: Corrupt"),
            (4, Manner::Longer, "failure: Corrupt"),
        ];
        for (number, manner, failure) in troubles {
            scene.registry.behave(manner);
            let mark = scene.mark();
            let release = scene.push(number, own_architecture(), 1000).await;
            scene.said(mark, &["StepFailed", failure]).await;
            scene.registry.behave(Manner::Honest);
            scene.committed(release).await;
        }

        let mark = scene.mark();
        scene.push(5, "s390x", 1000).await;
        scene.said(mark, &["reason: Unusable", "s390x"]).await;
        until("the report", &scene.device, async || {
            scene.shore.state().await.contains("rejected")
        })
        .await;
        until("the reason, at the fleet", &scene.device, async || {
            let lines = scene.shore.lines("lightshipd").await;
            let says = |words: &str| lines.iter().any(|line| line.contains(words));
            says("web: the image is for linux/s390x") && says(&scene.registry.address.to_string())
        })
        .await;
        scene.runs_on().await;
    });
}

/// A small disk of its own for a device, in a mount namespace of its own.
pub(crate) struct Disk(PathBuf);

impl Disk {
    pub(crate) fn new(at: &Path) -> Self {
        Self::with(at, "size=64m")
    }

    /// With these options of a tmpfs.
    fn with(at: &Path, options: &str) -> Self {
        own_mounts();
        fs::create_dir_all(at).unwrap();
        let at = at.display().to_string();
        let options = format!("mode=700,{options}");
        mount(&["-t", "tmpfs", "-o", &options, "tmpfs", &at]);
        Self(at.into())
    }

    /// Lets it hold so many files more than it does now.
    fn leave_room_for_files(&self, more: u64) {
        let held = rustix::fs::statvfs(&self.0).unwrap();
        let files = held.f_files - held.f_ffree + more;
        let options = format!("remount,nr_inodes={files}");
        mount(&["-o", &options, &self.0.display().to_string()]);
    }

    /// Writes until nothing more goes on it.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("fill")).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("fill")).unwrap();
    }

    /// Nothing can be written by its name any more, as on a file system that the kernel has found errors on.
    fn close(&self) {
        let at = self.0.display().to_string();
        mount(&["--bind", &at, &at]);
        mount(&["-o", "remount,bind,ro", &at]);
    }

    fn open(&self) {
        unmount(&self.0);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

#[test]
fn a_disk_that_is_too_small_full_or_read_only_leaves_the_old_release_running() {
    tell(async |program| {
        let mut scene = Scene::new(program).await;
        let disk = Disk::new(&scene.device.path("data"));
        scene.device.start();
        let first = scene.push(1, own_architecture(), 1000).await;
        scene.committed(first).await;
        disk.fill();
        scene.comes_back().await;
        disk.empty();
        disk.close();
        scene.comes_back().await;
        disk.open();
        // Its container writes where the disk was read-only; from now on it does so on the disk again.
        scene.comes_back().await;

        let mark = scene.mark();
        scene.push(2, own_architecture(), 30 << 20).await;
        let words = ["StepFailed", "failure: NoSpace", "bytes are needed"];
        scene.said(mark, &words).await;

        let mark = scene.mark();
        disk.fill();
        let third = scene.push(3, own_architecture(), 1000).await;
        scene.said(mark, &["RecordNotSaved"]).await;
        disk.empty();
        scene.committed(third).await;

        let mark = scene.mark();
        disk.close();
        let fourth = scene.push(4, own_architecture(), 1000).await;
        scene.said(mark, &["RecordNotSaved"]).await;
        disk.open();
        scene.device.restart();
        scene.committed(fourth).await;
        // Before the device, whose folder it lies in.
        drop(disk);
    });
}

/// One more than an image may hold.
const CROWD: usize = 1_000_001;

/// How many of them are files: all, which takes minutes, where there is time.
fn files() -> usize {
    match std::env::var_os("LIGHTSHIP_LONG") {
        Some(_) => CROWD,
        None => 5000,
    }
}

#[test]
fn an_image_of_more_files_than_the_engine_or_the_disk_takes_leaves_the_old_release_running() {
    tell(async |program| {
        let mut scene = Scene::new(program).await;
        let disk = Disk::with(&scene.device.path("data"), "size=50%,nr_inodes=1100000");
        scene.device.start();
        let first = scene.push(1, own_architecture(), 1000).await;
        scene.committed(first).await;

        let mark = scene.mark();
        let crowd = scene.registry.crowd(own_architecture(), CROWD, files());
        let crowd = scene.known(crowd).await;
        scene.release(2, crowd).await;
        let words = ["reason: Unusable", "over 1000000 files in its layers"];
        scene.said(mark, &words).await;
        until("the report", &scene.device, async || {
            scene.shore.state().await.contains("rejected")
        })
        .await;

        // What was unpacked is gone; from now on the disk itself holds few files more.
        until("room", &scene.device, async || {
            let held = rustix::fs::statvfs(scene.device.path("data")).unwrap();
            held.f_files - held.f_ffree < 10_000
        })
        .await;
        disk.leave_room_for_files(2000);
        let mark = scene.mark();
        let crowd = scene.registry.crowd(own_architecture(), 10_000, 10_000);
        let crowd = scene.known(crowd).await;
        scene.release(3, crowd).await;
        let words = [
            "StepFailed",
            "failure: NoSpace",
            "no room for more bytes or for more files",
        ];
        scene.said(mark, &words).await;
        drop(disk);
    });
}
