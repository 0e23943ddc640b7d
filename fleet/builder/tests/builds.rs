//! Dockerfiles built without an engine, with what the images hold.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use lightship_builder::build::{Request, build};
use lightship_builder::dockerfile::Dockerfile;
use lightship_builder::{BuildError, Cancel, Descriptor, Layout, Limits, Manifest, Platform};
use tempfile::TempDir;

/// A context and a layout of its own.
struct Bench {
    folder: TempDir,
    limits: Limits,
    cancel: Cancel,
}

impl Bench {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bench = Self {
            folder,
            limits: Limits::default(),
            cancel: Cancel::default(),
        };
        fs::create_dir(bench.context()).unwrap();
        for (path, text) in files {
            bench.write(path, text);
        }
        bench
    }

    fn context(&self) -> PathBuf {
        self.folder.path().join("context")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.context().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn layout(&self) -> Layout {
        Layout::open(&self.folder.path().join("layout")).unwrap()
    }

    fn build(&self, text: &str) -> Result<Descriptor, BuildError> {
        self.build_for(text, "linux/arm/v7", &[], None)
    }

    fn build_for(
        &self,
        text: &str,
        platform: &str,
        args: &[(&str, &str)],
        target: Option<&str>,
    ) -> Result<Descriptor, BuildError> {
        let dockerfile = Dockerfile::read("Dockerfile", text)?;
        let args = args
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let request = Request {
            context: &self.context(),
            file: "Dockerfile",
            text,
            dockerfile: &dockerfile,
            args: &args,
            target,
            labels: &BTreeMap::new(),
            platform: &Platform::read(platform).unwrap(),
            layout: &self.layout(),
            limits: self.limits,
            cancel: &self.cancel,
        };
        build(&request, &mut |_| ())
    }

    fn refusal(&self, text: &str) -> String {
        self.build(text).unwrap_err().to_string()
    }

    fn manifest(&self, image: &Descriptor) -> Manifest {
        serde_json::from_slice(&self.layout().document(image).unwrap()).unwrap()
    }

    fn config(&self, image: &Descriptor) -> serde_json::Value {
        let manifest = self.manifest(image);
        serde_json::from_slice(&self.layout().document(&manifest.config).unwrap()).unwrap()
    }

    /// All entries of all layers: `path mode uid:gid content`.
    fn listing(&self, image: &Descriptor) -> Vec<String> {
        let mut all = Vec::new();
        for layer in &self.manifest(image).layers {
            let file = fs::File::open(self.layout().blob(&layer.digest).unwrap()).unwrap();
            let mut archive = tar::Archive::new(GzDecoder::new(file));
            for entry in archive.entries().unwrap() {
                let mut entry = entry.unwrap();
                let header = entry.header().clone();
                assert_eq!(header.mtime().unwrap(), 0);
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                let link = header
                    .link_name()
                    .unwrap()
                    .map(|l| format!("-> {}", l.display()));
                all.push(format!(
                    "{} {:o} {}:{} {}{text}",
                    entry.path().unwrap().display(),
                    header.mode().unwrap(),
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    link.unwrap_or_default(),
                ));
            }
        }
        all
    }
}

fn executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_image_from_scratch_holds_what_was_copied_and_says_how_it_runs() {
    let bench = Bench::new(&[("app", "#!"), ("conf/a.toml", "a"), ("conf/b.txt", "b")]);
    executable(&bench.context().join("app"));
    let image = bench
        .build(
            "FROM scratch\nARG LEVEL=info\nENV LEVEL=$LEVEL PATH=/bin\nWORKDIR /srv\nCOPY app .\nCOPY conf/*.toml /etc/app/\nLABEL v=\"1 2\"\nUSER 1000\nEXPOSE 80 53/udp\nVOLUME /data\nSTOPSIGNAL SIGINT\nHEALTHCHECK --interval=5s CMD /app -t\nENTRYPOINT [\"/srv/app\"]\nCMD [\"-v\"]\n",
        )
        .unwrap();
    assert_eq!(
        bench.listing(&image),
        [
            "srv/ 755 0:0 ",
            "srv/app 755 0:0 #!",
            "etc/ 755 0:0 ",
            "etc/app/ 755 0:0 ",
            "etc/app/a.toml 644 0:0 a",
        ]
    );
    let config = bench.config(&image);
    let expected = serde_json::json!({
        "User": "1000", "ExposedPorts": {"53/udp": {}, "80/tcp": {}}, "Env": ["LEVEL=info", "PATH=/bin"],
        "Entrypoint": ["/srv/app"], "Cmd": ["-v"], "Volumes": {"/data": {}}, "WorkingDir": "/srv",
        "Healthcheck": {"Test": ["CMD-SHELL", "/app -t"], "Interval": 5_000_000_000_u64},
        "Labels": {"v": "1 2"}, "StopSignal": "SIGINT",
    });
    assert_eq!(config["config"], expected);
    assert_eq!(config["architecture"], "arm");
    assert_eq!(config["variant"], "v7");
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 3);
}

#[test]
fn equal_files_make_equal_images_wherever_and_whenever_they_were_written() {
    let text = "FROM scratch\nCOPY . /all/\n";
    let one = Bench::new(&[("b", "2"), ("a/x", "1"), ("c", "3")]);
    let other = Bench::new(&[("c", "3"), ("a/x", "1"), ("b", "2")]);
    let old = fs::File::options()
        .write(true)
        .open(other.context().join("b"))
        .unwrap();
    old.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000))
        .unwrap();
    assert_eq!(
        one.build(text).unwrap().digest,
        other.build(text).unwrap().digest
    );
    other.write("b", "changed");
    assert_ne!(
        one.build(text).unwrap().digest,
        other.build(text).unwrap().digest
    );
}

#[test]
fn a_stage_is_copied_from_and_one_that_is_not_needed_is_not_built() {
    let bench = Bench::new(&[("in/deep/file", "text"), ("in/other", "o")]);
    symlink("deep/file", bench.context().join("in/link")).unwrap();
    let text = "FROM scratch AS first\nCOPY in /from/\nFROM nowhere/image AS unused\nRUN false\nFROM scratch AS last\nCOPY --from=first --chown=7:8 --chmod=600 /from/link /one\nCOPY --from=0 /from/ /two/\n";
    let image = bench.build(text).unwrap();
    assert_eq!(
        bench.listing(&image),
        [
            "one 600 7:8 text",
            "two/ 755 0:0 ",
            "two/deep/ 755 0:0 ",
            "two/deep/file 644 0:0 text",
            "two/link 777 0:0 -> deep/file",
            "two/other 644 0:0 o",
        ]
    );
    let first = bench
        .build_for(text, "linux/amd64", &[], Some("first"))
        .unwrap();
    assert_eq!(bench.listing(&first).len(), 5);
    let unused = bench
        .build_for(text, "linux/amd64", &[], Some("unused"))
        .unwrap_err();
    assert_eq!(
        unused.to_string(),
        "Dockerfile:4:1: RUN needs a Docker or podman engine"
    );
}

#[test]
fn an_image_is_built_upon_one_of_the_layout_for_the_platform() {
    let bench = Bench::new(&[
        ("etc/passwd", "root:x:0:0::/:\nweb:x:33:34::/:\n"),
        ("x", "x"),
    ]);
    let base = "FROM scratch\nARG TARGETARCH\nCOPY etc /usr/etc/\nENV A=1 B=$TARGETARCH\nCMD [\"base\"]\nENTRYPOINT [\"/base\"]\nCMD [\"base\"]\n";
    for platform in ["linux/amd64", "linux/arm/v7", "linux/arm/v6"] {
        let image = bench.build_for(base, platform, &[], None).unwrap();
        bench.layout().name("example/base:1", &image).unwrap();
    }
    let text = "ARG TAG\nFROM example/base:$TAG\nCOPY --chown=web x /x\nENTRYPOINT [\"/new\"]\n";
    let missing = bench.build(text).unwrap_err().to_string();
    assert!(
        missing.contains("image example/base: is not there"),
        "{missing}"
    );
    // The layers of the base have the user database in another folder than `--chown` looks into.
    let unknown = bench
        .build_for(text, "linux/arm/v7", &[("TAG", "1")], None)
        .unwrap_err();
    assert!(
        unknown.to_string().contains("no user or group \"web\""),
        "{unknown}"
    );
    let linked = format!("{base}COPY links /\n");
    fs::create_dir(bench.context().join("links")).unwrap();
    symlink("usr/etc", bench.context().join("links/etc")).unwrap();
    let image = bench.build_for(&linked, "linux/arm/v6", &[], None).unwrap();
    bench.layout().name("example/base:2", &image).unwrap();
    let image = bench
        .build_for(text, "linux/arm/v7", &[("TAG", "2")], None)
        .unwrap();
    assert_eq!(bench.listing(&image).last().unwrap(), "x 644 33:33 x");
    let config = bench.config(&image);
    assert_eq!(config["config"]["Env"], serde_json::json!(["A=1", "B=arm"]));
    assert_eq!(config["config"]["Cmd"], serde_json::Value::Null);
    let wrong = bench
        .build_for(text, "linux/arm64", &[("TAG", "2")], None)
        .unwrap_err();
    assert!(
        wrong
            .to_string()
            .contains("is not there for linux/arm64; it is for linux/arm/v6"),
        "{wrong}"
    );
}

#[test]
fn copying_through_a_link_of_the_image_lands_where_the_link_leads() {
    let bench = Bench::new(&[("tool", "t"), ("root/bin/more", "m")]);
    fs::create_dir(bench.context().join("links")).unwrap();
    symlink("usr/bin", bench.context().join("links/bin")).unwrap();
    let image = bench
        .build("FROM scratch\nWORKDIR /usr/bin\nCOPY links /\nCOPY tool /bin/\nCOPY root /\n")
        .unwrap();
    let listing = bench.listing(&image);
    assert!(
        listing.contains(&"usr/bin/tool 644 0:0 t".to_owned()),
        "{listing:?}"
    );
    assert!(
        listing.contains(&"usr/bin/more 644 0:0 m".to_owned()),
        "{listing:?}"
    );
}

#[test]
fn what_dockerignore_leaves_out_is_not_in_the_context() {
    let bench = Bench::new(&[
        (
            ".dockerignore",
            "secret\n*.log\n!keep.log\nnode_modules\n.dockerignore\n",
        ),
        ("secret", "s"),
        ("a.log", "a"),
        ("keep.log", "k"),
        ("node_modules/x/y", "y"),
        ("app", "a"),
    ]);
    let image = bench.build("FROM scratch\nCOPY . /\n").unwrap();
    assert_eq!(
        bench.listing(&image),
        ["app 644 0:0 a", "keep.log 644 0:0 k"]
    );
    let refusal = bench.refusal("FROM scratch\nLABEL a=b\nCOPY secret /\n");
    assert_eq!(
        refusal,
        "Dockerfile:3:1: \"secret\" is not in the context; check its name and .dockerignore"
    );
}

#[test]
fn nothing_outside_the_context_is_read() {
    let bench = Bench::new(&[("inside", "i")]);
    fs::write(bench.folder.path().join("outside"), "o").unwrap();
    symlink("../outside", bench.context().join("up")).unwrap();
    symlink("/etc/hostname", bench.context().join("absolute")).unwrap();
    symlink("loop", bench.context().join("loop")).unwrap();
    for source in ["up", "absolute", "loop", "../outside"] {
        let refusal = bench.refusal(&format!("FROM scratch\nCOPY {source} /x\n"));
        assert!(
            refusal.contains("is not in the context"),
            "{source}: {refusal}"
        );
    }
    let image = bench.build("FROM scratch\nCOPY . /\n").unwrap();
    assert!(
        bench
            .listing(&image)
            .contains(&"up 777 0:0 -> ../outside".to_owned())
    );
}

#[test]
fn texts_of_the_dockerfile_itself_are_copied() {
    let bench = Bench::new(&[]);
    let text = "FROM scratch\nENV NAME=world\nCOPY <<greeting.txt /hello/\nhello \"$NAME\"\ngreeting.txt\n";
    let image = bench.build(text).unwrap();
    assert_eq!(
        bench.listing(&image),
        [
            "hello/ 755 0:0 ",
            "hello/greeting.txt 644 0:0 hello \"world\"\n"
        ]
    );
}

#[test]
fn limits_end_a_build_and_say_which() {
    let mut bench = Bench::new(&[("a", "1"), ("b", "2"), ("c", "333")]);
    let text = "FROM scratch\nCOPY . /\nCOPY . /\n";
    bench.limits.context_entries = 2;
    assert_eq!(bench.refusal(text), "more than 2 files in the context");
    bench.limits = Limits {
        context_bytes: 4,
        ..Limits::default()
    };
    assert_eq!(bench.refusal(text), "more than 4 bytes in the context");
    bench.limits = Limits {
        layers: 1,
        ..Limits::default()
    };
    assert_eq!(bench.refusal(text), "Dockerfile:3:1: more than 1 layers");
    bench.limits = Limits {
        layer_bytes: 100,
        ..Limits::default()
    };
    assert!(bench.refusal(text).contains("larger than allowed"));
    bench.limits = Limits {
        time: Duration::ZERO,
        ..Limits::default()
    };
    assert_eq!(bench.refusal(text), "the build took longer than 0 seconds");
    bench.limits = Limits::default();
    bench.cancel.cancel();
    assert_eq!(bench.refusal(text), "the build was cancelled");
}

#[test]
fn what_cannot_be_copied_is_refused_with_its_place() {
    let bench = Bench::new(&[("a", "1"), ("dir/x", "2"), ("b", "3")]);
    let cases = [
        (
            "COPY a b /target",
            "several things for one target; end the target with / to name a folder",
        ),
        ("COPY dir /a", ""),
        ("COPY --from=dir /nothing /x", "image dir is not there"),
        (
            "COPY --from=first /nothing /x",
            "\"/nothing\" is not in \"first\"",
        ),
        ("COPY none* /x", "\"none*\" is not in the context"),
        (
            "COPY --chown=nobody a /x",
            "the image knows no user or group \"nobody\"; use numbers",
        ),
    ];
    for (line, expected) in cases {
        let text = format!("FROM scratch AS first\nCOPY a /a\nFROM scratch\n{line}\n");
        match bench.build(&text) {
            Ok(_) => assert!(expected.is_empty(), "{line}"),
            Err(error) => assert!(
                error.to_string().contains(expected) && !expected.is_empty(),
                "{line}: {error}"
            ),
        }
    }
    let clash = bench.refusal("FROM scratch\nCOPY a /x\nCOPY dir /x/\n");
    assert!(
        clash.starts_with("Dockerfile:3:1: /x is a folder in one and a file in the other"),
        "{clash}"
    );
}

#[test]
fn a_layer_that_lies_about_its_length_or_type_is_refused() {
    let bench = Bench::new(&[("a", "1")]);
    let image = bench.build("FROM scratch\nCOPY a /a\n").unwrap();
    let mut manifest = bench.manifest(&image);
    manifest.layers[0].media_type = "application/vnd.example".to_owned();
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let mut odd = bench
        .layout()
        .put("application/vnd.oci.image.manifest.v1+json", &bytes)
        .unwrap();
    odd.platform = image.platform.clone();
    bench.layout().name("odd", &odd).unwrap();
    assert!(bench.refusal("FROM odd\n").contains("cannot be read"));
    let blob = bench.layout().blob(&manifest.config.digest).unwrap();
    fs::write(blob, "{}").unwrap();
    assert!(
        bench
            .refusal("FROM odd\n")
            .contains("does not have the digest")
    );
}
