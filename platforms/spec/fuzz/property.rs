//! What holds for every input whatsoever; the fuzz target and the replay of its corpus share it.

use std::collections::{BTreeMap, BTreeSet};

use lightship_spec::compose::{Input, NoFiles, read};
use lightship_spec::container::ContainerSpec;

/// Reading ends, problems have places in the text, and what is accepted reads back from its bytes.
pub(crate) fn holds(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    let profiles = BTreeSet::from(["p".to_owned()]);
    let input = Input {
        file: "f",
        text,
        name: "n",
        variables: &variables,
        profiles: &profiles,
        files: &NoFiles,
    };
    match read(&input) {
        Ok(project) => {
            assert!(!project.services.is_empty() || text.contains("profiles"));
            for service in project.services.values() {
                let spec = service.spec("registry.example/a");
                let back =
                    ContainerSpec::decode(&spec.encode()).expect("what is written can be read");
                assert_eq!(back, spec);
            }
        }
        Err(problems) => {
            assert!(!problems.0.is_empty());
            for problem in &problems.0 {
                assert!(problem.place.line >= 1 && problem.place.column >= 1);
                assert!(
                    problem.place.line <= text.split('\n').count() + 1,
                    "{problem}"
                );
                let _ = format!("{problem:#}");
            }
        }
    }
}
