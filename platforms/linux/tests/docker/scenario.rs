//! One life of an application on an engine, from the first fetch to the last removal.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lightship_spec::container::ContainerSpec;
use lightshipd::docker::{Config, DockerEngine};
use lightshipd::engine::runtime::{Position, read_log};
use lightshipd::engine::{
    Component, Documents, Engine, Error, Grant, Instance, Presence, Provide, Reason, Starting,
};
use lightshipd::store::{Digest, Files, InstanceId, Store};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Kind};
use crate::registry::Registry;

/// An engine with everything around it.
struct Bench {
    engine: DockerEngine,
    daemon: Daemon,
    image: Digest,
    second: Digest,
    foreign: Digest,
    out: PathBuf,
}

/// A component with the bytes of its documents.
struct Whole {
    component: Component,
    spec: Vec<u8>,
    settings: Option<Vec<u8>>,
}

pub(crate) async fn run(kind: Kind) {
    let mut registry = Registry::new();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let image = registry.image(architecture, "first");
    let second = registry.image(architecture, "second");
    let foreign = registry.image("s390x", "foreign");
    registry.serve().await;
    let daemon = Daemon::start(kind);
    let out = daemon.folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let engine = connect(&daemon, &out).await;
    let bench = Bench {
        engine,
        daemon,
        image,
        second,
        foreign,
        out,
    };
    let began = Instant::now();
    bench.wrong_documents_and_images_are_refused().await;
    bench.what_the_device_does_not_allow_is_refused().await;
    bench.a_service_gets_what_its_spec_says().await;
    bench
        .services_find_each_other_and_are_found_from_outside()
        .await;
    bench.ends_are_told_apart().await;
    bench.a_volume_outlives_its_containers().await;
    bench.images_go_when_nothing_needs_them().await;
    println!("{kind:?}: {:.1} s", began.elapsed().as_secs_f32());
}

/// Gives each container a folder and a variable.
#[derive(Debug)]
struct Gives(PathBuf);

impl Provide for Gives {
    fn provide(&self, starting: &Starting<'_>) -> std::io::Result<Grant> {
        self.withdraw(starting.id)?;
        let folder = self.0.join(starting.id.to_string());
        fs::create_dir_all(&folder)?;
        let name = starting.name.to_owned();
        Ok(Grant {
            environment: BTreeMap::from([("GIVEN".to_owned(), name)]),
            mounts: vec![(folder, "/run/lightship".to_owned(), false)],
        })
    }

    fn withdraw(&self, id: InstanceId) -> std::io::Result<()> {
        match fs::remove_dir_all(self.0.join(id.to_string())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

async fn connect(daemon: &Daemon, out: &Path) -> DockerEngine {
    let store = Store::open(&daemon.folder.path().join("store"), Files::default()).unwrap();
    let config = Config {
        binds: vec![out.to_owned()],
        own: Vec::new(),
        privileged: false,
        logs: daemon.folder.path().join("logs"),
        registries: None,
        provide: Some(Arc::new(Gives(daemon.folder.path().join("given")))),
    };
    let connected = DockerEngine::connect(&daemon.socket(), store, config).await;
    connected.unwrap_or_else(|error| panic!("{error}\n{}", daemon.log()))
}

impl Bench {
    fn component(&self, name: &str, mut spec: Value, settings: Option<Value>) -> Whole {
        // Podman would raise both to more than a test within a container may have.
        let limits =
            json!({"nofile": {"soft": 100, "hard": 200}, "nproc": {"soft": 4096, "hard": 4096}});
        let all = json!({"version": 1, "application": "shop", "image": "127.0.0.1:5000/busybox", "ulimits": limits});
        for (field, value) in all.as_object().unwrap() {
            spec.as_object_mut()
                .unwrap()
                .entry(field)
                .or_insert(value.clone());
        }
        let spec: ContainerSpec = serde_json::from_value(spec).unwrap();
        let spec = spec.encode();
        let settings = settings.map(|settings| settings.to_string().into_bytes());
        let digest = Digest::of(&[&spec[..], settings.as_deref().unwrap_or_default()].concat());
        let component = Component {
            instance: Instance {
                name: name.to_owned(),
                digest,
            },
            artifact: self.image,
            spec: Digest::of(&spec),
            settings: settings.as_deref().map(Digest::of),
        };
        Whole {
            component,
            spec,
            settings,
        }
    }

    fn shell(&self, name: &str, line: &str, more: Value) -> Whole {
        let mut spec = more;
        let fields = spec.as_object_mut().unwrap();
        fields.insert("command".into(), json!(["sh", "-c", line]));
        fields.entry("stop_grace_ms").or_insert(json!(0));
        let out = json!({"type": "bind", "source": self.out, "target": "/out"});
        let mounts = fields.entry("mounts").or_insert(json!([]));
        mounts.as_array_mut().unwrap().push(out);
        self.component(name, spec, None)
    }

    async fn fetch(&self, whole: &Whole) -> Result<(), Error> {
        let documents = Documents {
            spec: &whole.spec,
            settings: whole.settings.as_deref(),
        };
        self.engine
            .fetch(&whole.component, documents, Arc::new(|_| ()))
            .await
    }

    async fn up(&self, whole: &Whole) -> Instance {
        self.ready(whole).await;
        let instance = whole.component.instance.clone();
        let started = self.engine.start(&instance).await;
        started.unwrap_or_else(|error| panic!("{error}\n{}", self.daemon.log()));
        instance
    }

    async fn ready(&self, whole: &Whole) {
        let log = |error: Error| -> () { panic!("{error}\n{}", self.daemon.log()) };
        self.fetch(whole).await.unwrap_or_else(log);
        self.engine
            .stage(&whole.component)
            .await
            .unwrap_or_else(log);
        // Again is as good as once.
        self.engine
            .stage(&whole.component)
            .await
            .unwrap_or_else(log);
    }

    /// The text that a container writes, when it is whole.
    async fn written(&self, name: &str) -> String {
        let path = self.out.join(name);
        let end = Instant::now() + Duration::from_secs(30);
        while !path.exists() {
            assert!(
                Instant::now() < end,
                "{name} was not written\n{}",
                self.daemon.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        fs::read_to_string(path).unwrap()
    }

    async fn becomes(&self, instance: &Instance, wanted: Presence) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let now = self.engine.probe(instance).await.unwrap();
            if now == wanted {
                return;
            }
            assert!(
                Instant::now() < end,
                "{} is {now:?}, not {wanted:?}",
                instance.name
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the engine tells of a change of this instance.
    async fn told(&self, instance: &Instance) {
        let told = async { while self.engine.changed().await.unwrap() != *instance {} };
        tokio::time::timeout(Duration::from_secs(30), told)
            .await
            .expect("a change is told");
    }

    async fn refusal(&self, whole: &Whole) -> (Reason, String) {
        let result = match self.fetch(whole).await {
            Ok(()) => self.engine.stage(&whole.component).await,
            refused => refused,
        };
        let error = result.unwrap_err();
        (error.reason(), error.to_string())
    }

    async fn wrong_documents_and_images_are_refused(&self) {
        let mut whole = self.component("web", json!({}), None);
        whole.spec.push(b' ');
        assert_eq!(self.refusal(&whole).await.0, Reason::DigestMismatch);
        let mut whole = self.component("web", json!({}), None);
        whole.component.artifact = Digest::of(b"nothing");
        let (reason, text) = self.refusal(&whole).await;
        assert_eq!(reason, Reason::NotFound, "{text}");
        whole.component.artifact = self.foreign;
        let (reason, text) = self.refusal(&whole).await;
        assert!(
            matches!(reason, Reason::WrongArchitecture | Reason::BadImage),
            "{text}"
        );
        let whole = self.component(
            "web",
            json!({}),
            Some(json!({"version": 1, "environment": {"LD_PRELOAD": "/x"}})),
        );
        let (reason, text) = self.refusal(&whole).await;
        assert_eq!(reason, Reason::Refused);
        assert!(
            text.contains("LD_PRELOAD may not be set from outside"),
            "{text}"
        );
        let unknown = self.engine.probe(&whole.component.instance).await.unwrap();
        assert_eq!(unknown, Presence::Missing);
    }

    async fn what_the_device_does_not_allow_is_refused(&self) {
        let inside = self.out.join("link");
        std::os::unix::fs::symlink("/etc", &inside).unwrap();
        let bind =
            |source: &str| json!({"mounts": [{"type": "bind", "source": source, "target": "/x"}]});
        let cases = [
            (bind("/etc"), "not among the paths"),
            (bind(&inside.display().to_string()), "not among the paths"),
            (bind("/nowhere"), "No such file"),
            (json!({"features": ["dbus"]}), "allow_privileged"),
            (
                json!({"security": {"privileged": true}}),
                "allow_privileged",
            ),
            (
                json!({"network": {"mode": "none"}, "health": {"test": {"tcp": {"port": 1}}}}),
                "without a network",
            ),
        ];
        for (spec, expected) in cases {
            let (reason, text) = self.refusal(&self.component("web", spec, None)).await;
            assert_eq!(reason, Reason::Refused, "{text}");
            assert!(text.contains(expected), "{text}");
        }
        assert!(self.engine.inventory().await.unwrap().is_empty());
    }

    async fn a_service_gets_what_its_spec_says(&self) {
        let line = "env > /tmp/e; id -u >> /tmp/e; hostname >> /tmp/e; cat /run/secrets/token >> /tmp/e; \
            stat -c %a%u /run/secrets/token >> /tmp/e; touch /not 2>/dev/null || echo read-only >> /tmp/e; \
            ls -d /run/lightship >> /tmp/e; echo said; echo and cried >&2; mv /tmp/e /out/service; exec sleep 1000";
        let mut whole = self.shell("service", line, json!({
            "environment": {"A": "signed", "B": "default"},
            "settable": {"B": {}, "TOKEN": {"secret": true}},
            "files": [{"target": "/run/secrets/token", "content": {"setting": "TOKEN"}, "uid": 7, "mode": 0o444}],
            "hostname": "box", "working_dir": "/tmp",
            "security": {"read_only_root": true, "cap_drop": ["ALL"], "cap_add": ["DAC_OVERRIDE"], "no_new_privileges": true},
            "mounts": [{"type": "tmpfs", "target": "/tmp", "size_bytes": 1_048_576, "mode": 0o1777}],
            "limits": {"memory_bytes": 67_108_864, "cpu_millis": 500, "pids": 20},
            "labels": {"team": "x"}, "init": false, "stop_signal": "SIGKILL",
        }));
        let settings = br#"{"version":1,"environment":{"B":"device","TOKEN":"s3cret"}}"#.to_vec();
        whole.component.settings = Some(Digest::of(&settings));
        whole.settings = Some(settings);
        self.ready(&whole).await;
        let instance = whole.component.instance.clone();
        assert_eq!(
            self.engine.probe(&instance).await.unwrap(),
            Presence::Staged
        );
        self.engine.start(&instance).await.unwrap();
        self.engine.start(&instance).await.unwrap();
        let text = self.written("service").await;
        for line in [
            "A=signed",
            "GIVEN=service",
            "B=device",
            "FROM_IMAGE=1",
            "0",
            "box",
            "s3cret4447",
            "read-only",
            "/run/lightship",
        ] {
            assert!(
                text.lines().any(|l| l == line),
                "{line:?} is not in\n{text}"
            );
        }
        assert!(
            !text.contains("TOKEN="),
            "a secret is in the environment:\n{text}"
        );
        self.becomes(&instance, Presence::Healthy).await;
        assert_eq!(self.printed(&instance, 2).await, ["and cried", "said"]);
        assert_eq!(self.engine.life(&instance).await, Some(1));
        // The daemon restarts; the container does not notice.
        let again = connect(&self.daemon, &self.out).await;
        assert_eq!(
            again.inventory().await.unwrap(),
            [(instance.clone(), Presence::Healthy)]
        );
        self.engine.stop(&instance).await.unwrap();
        assert_eq!(
            self.engine.probe(&instance).await.unwrap(),
            Presence::Staged
        );
        self.engine.remove(&instance).await.unwrap();
        self.engine.remove(&instance).await.unwrap();
        assert_eq!(
            self.engine.probe(&instance).await.unwrap(),
            Presence::Missing
        );
    }

    /// What was kept of the output once there are so many lines, sorted.
    async fn printed(&self, instance: &Instance, lines: usize) -> Vec<String> {
        let folder = self.engine.log_folder(instance);
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            let (kept, _) = read_log(&folder, Position::default()).unwrap_or_default();
            if kept.len() >= lines {
                let mut text: Vec<String> = kept.into_iter().map(|line| line.text).collect();
                text.sort();
                return text;
            }
            assert!(Instant::now() < patience, "{kept:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn services_find_each_other_and_are_found_from_outside(&self) {
        let web = self.shell(
            "web",
            "while [ ! -e /out/open ]; do sleep 0.05; done; exec httpd -f -p 8080 -h /www",
            json!({
                "network": {"mode": {"bridge": {"front": ["www"], "back": []}},
                    "ports": [{"host_ip": "127.0.0.1", "host": 18080, "container": 8080}]},
                "health": {"test": {"http": {"port": 8080, "path": "/ok"}}, "interval_ms": 100,
                    "start_interval_ms": 100, "start_period_ms": 20_000, "retries": 2},
            }),
        );
        let web = self.up(&web).await;
        assert_eq!(self.engine.probe(&web).await.unwrap(), Presence::Starting);
        fs::write(self.out.join("open"), "").unwrap();
        self.told(&web).await;
        self.becomes(&web, Presence::Healthy).await;
        // Podman starts a container before its name server has read that it is there: names come a little later.
        let ask = "for name in web www; do until wget -q -O - http://$name:8080/ok >> /tmp/answers; do sleep 0.1; done; done; \
            mv /tmp/answers /out/answers; exec sleep 1000";
        let asker = self.shell(
            "asker",
            ask,
            json!({"network": {"mode": {"bridge": {"front": []}}}}),
        );
        let asker = self.up(&asker).await;
        assert_eq!(self.written("answers").await, "fine\nfine\n");
        let beside = self.shell("beside", "wget -q -O /out/beside.new http://127.0.0.1:8080/ok && mv /out/beside.new /out/beside; exec sleep 1000",
            json!({"network": {"mode": {"service": "web"}}}));
        self.ready(&beside).await;
        assert_eq!(
            self.engine.probe(&beside.component.instance).await.unwrap(),
            Presence::Staged
        );
        let beside = self.up(&beside).await;
        assert_eq!(self.written("beside").await, "fine\n");
        let stream = tokio::net::TcpStream::connect("127.0.0.1:18080").await;
        assert!(stream.is_ok(), "the port is published: {stream:?}");
        let bad = self.shell(
            "bad",
            "exec sleep 1000",
            json!({
                "health": {"test": {"tcp": {"port": 9}}, "interval_ms": 50, "retries": 2},
            }),
        );
        let bad = self.up(&bad).await;
        self.becomes(&bad, Presence::Unhealthy).await;
        for instance in [beside, asker, web, bad] {
            self.engine.remove(&instance).await.unwrap();
        }
    }

    async fn ends_are_told_apart(&self) {
        let job = self.shell("job", "exit 0", json!({"run": "job", "restart": "no"}));
        let job = self.up(&job).await;
        self.becomes(&job, Presence::Completed).await;
        let failed = self.shell("failed", "exit 3", json!({"run": "job", "restart": "no"}));
        let failed = self.up(&failed).await;
        self.becomes(&failed, Presence::Exited).await;
        let waits = self.shell(
            "waits",
            "while [ ! -e /out/go ]; do sleep 0.05; done; exit 0",
            json!({"restart": "no"}),
        );
        let waits = self.up(&waits).await;
        self.becomes(&waits, Presence::Healthy).await;
        // What was told before is of no interest.
        while tokio::time::timeout(Duration::from_millis(300), self.engine.changed())
            .await
            .is_ok()
        {}
        fs::write(self.out.join("go"), "").unwrap();
        self.told(&waits).await;
        self.becomes(&waits, Presence::Exited).await;
        let again = self.shell("again", "touch /out/once 2>/dev/null; [ -e /out/twice ] && exec sleep 1000; touch /out/twice; exit 1", json!({"restart": "always"}));
        let again = self.up(&again).await;
        self.becomes(&again, Presence::Healthy).await;
        let checked = self.shell(
            "checked",
            "while [ ! -e /out/well ]; do sleep 0.05; done; exec sleep 1000",
            json!({
                "health": {"test": {"shell": "exit 0"}, "interval_ms": 1000, "timeout_ms": 5000},
            }),
        );
        let checked = self.up(&checked).await;
        fs::write(self.out.join("well"), "").unwrap();
        self.becomes(&checked, Presence::Healthy).await;
        for instance in [job, failed, waits, again, checked] {
            self.engine.remove(&instance).await.unwrap();
        }
        assert!(self.engine.inventory().await.unwrap().is_empty());
    }

    async fn a_volume_outlives_its_containers(&self) {
        let volume = json!({"mounts": [{"type": "volume", "name": "data", "target": "/data"}]});
        let first = self.shell(
            "keeper",
            "cat /data/from-image > /data/kept; touch /out/kept; exec sleep 1000",
            volume.clone(),
        );
        let first = self.up(&first).await;
        self.written("kept").await;
        self.engine.remove(&first).await.unwrap();
        let second = self.shell(
            "keeper",
            "cat /data/kept > /out/new; mv /out/new /out/read; exec sleep 1000",
            volume,
        );
        let second = self.up(&second).await;
        assert_eq!(self.written("read").await, "image\n");
        self.engine.confirm(&second).await.unwrap();
        self.engine.remove(&second).await.unwrap();
    }

    async fn images_go_when_nothing_needs_them(&self) {
        let first = self.component("one", json!({"command": ["sleep", "1000"]}), None);
        let mut second = self.component("two", json!({"command": ["sleep", "1000"]}), None);
        second.component.artifact = self.second;
        self.ready(&first).await;
        self.fetch(&second).await.unwrap();
        self.engine.collect(&[self.second]).await.unwrap();
        self.engine.stage(&second.component).await.unwrap();
        self.engine
            .remove(&second.component.instance)
            .await
            .unwrap();
        self.engine.collect(&[]).await.unwrap();
        let (reason, text) = match self.engine.stage(&second.component).await {
            Err(error) => (error.reason(), error.to_string()),
            Ok(()) => panic!("an image that nothing needs is still there"),
        };
        assert_eq!(reason, Reason::Absent, "{text}");
        self.engine.start(&first.component.instance).await.unwrap();
        self.engine.remove(&first.component.instance).await.unwrap();
    }
}
