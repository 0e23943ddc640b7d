//! Compose files that look like real ones, with what becomes of them held as golden text.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use lightship_spec::compose::{Files, Input, Project, read};
use lightship_spec::container::ContainerSpec;
use lightship_spec::problem::Problems;

/// The files that the samples name.
struct Folder;

impl Files for Folder {
    fn read(&self, path: &str) -> Result<String, String> {
        match path {
            "web.env" => {
                Ok("# of the web service\nTZ=Europe/Berlin\nMODE_NAME=\"${MODE:-none}\"\n".into())
            }
            "broken.env" => Ok("A=1\nno equals sign\n".into()),
            _ => Err("there is no such file".into()),
        }
    }
}

fn read_sample(text: &str) -> Result<Project, Problems> {
    read(&Input {
        file: "compose.yaml",
        text,
        name: "sample",
        variables: &BTreeMap::from([("VERSION".to_owned(), "1.4.2".to_owned())]),
        profiles: &BTreeSet::new(),
        files: &Folder,
    })
}

fn samples(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension() == Some("yaml".as_ref()))
        .collect();
    files.sort();
    let with_text = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    };
    files.into_iter().map(with_text).collect()
}

#[test]
fn each_accepted_sample_becomes_the_specs_that_are_held_beside_it() {
    for (path, text) in samples("accepted") {
        let project = read_sample(&text).unwrap_or_else(|e| panic!("{}:\n{e:#}", path.display()));
        expect_file![path.with_extension("specs")].assert_eq(&shown(&project));
    }
}

#[test]
fn each_refused_sample_is_told_everything_that_is_wrong_with_it() {
    for (path, text) in samples("refused") {
        let problems = read_sample(&text).expect_err(&path.display().to_string());
        expect_file![path.with_extension("problems")].assert_eq(&format!("{problems}\n"));
    }
}

#[test]
fn every_accepted_spec_reads_back_from_its_bytes() {
    for (_, text) in samples("accepted") {
        for service in read_sample(&text).unwrap().services.values() {
            let spec = service.spec("registry.example/sample/service");
            assert_eq!(ContainerSpec::decode(&spec.encode()).unwrap(), spec);
        }
    }
}

fn shown(project: &Project) -> String {
    let mut out = format!("application {}\n", project.name);
    for (name, service) in &project.services {
        let spec = service.spec("registry.example/sample/built");
        let image = match &service.image {
            lightship_spec::compose::Image::Pull(reference) => format!("pull {reference}"),
            lightship_spec::compose::Image::Build(build) => format!("build {build:?}"),
        };
        write!(
            out,
            "\n# {name}\n{image}\nafter {:?}\nstrategy {:?} {:?}\n{:?}\n{}\n",
            service.after,
            service.strategy,
            service.hand_over_timeout_ms,
            service.health,
            spec.digest()
        )
        .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&spec.encode()).unwrap();
        out += &serde_json::to_string_pretty(&json).unwrap();
        out.push('\n');
    }
    out
}
