use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::container::{ContainerSpec, Settings};

fn spec(more: &str) -> ContainerSpec {
    let json = format!(r#"{{"version":1,"application":"a","image":"r.example/web"{more}}}"#);
    ContainerSpec::decode(json.as_bytes()).unwrap()
}

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let environment = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Settings {
        version: 1,
        environment,
    }
}

#[test]
fn a_variable_that_is_not_listed_is_refused_by_name() {
    let spec = spec(r#","environment":{"PATH":"/bin"},"settable":{"LEVEL":{}}"#);
    assert_eq!(
        apply(&spec, &settings(&[("PATH", "/evil")])),
        Err(Rejection::NotSettable("PATH".into()))
    );
}

#[test]
fn a_listed_variable_replaces_the_publishers_default() {
    let spec = spec(r#","environment":{"LEVEL":"info"},"settable":{"LEVEL":{}}"#);
    let resolved = apply(&spec, &settings(&[("LEVEL", "debug")])).unwrap();
    assert_eq!(resolved.environment["LEVEL"], "debug");
    let resolved = apply(&spec, &settings(&[])).unwrap();
    assert_eq!(resolved.environment["LEVEL"], "info");
}

#[test]
fn a_required_variable_without_a_value_is_refused() {
    let open = spec(r#","settable":{"TOKEN":{"required":true}}"#);
    assert_eq!(
        apply(&open, &settings(&[])),
        Err(Rejection::Missing("TOKEN".into()))
    );
}

#[test]
fn a_value_of_another_kind_is_refused_and_the_refusal_says_what_would_be_right() {
    let spec = spec(
        r#","settable":{"N":{"kind":{"integer":{"min":1,"max":9}}},"B":{"kind":"boolean"},"O":{"kind":{"one-of":["a","b"]}}}"#,
    );
    let refusal = |name, value| {
        apply(&spec, &settings(&[(name, value)]))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refusal("N", "10"),
        "variable N must be a whole number from 1 to 9"
    );
    assert_eq!(
        refusal("N", "x"),
        "variable N must be a whole number from 1 to 9"
    );
    assert_eq!(
        refusal("B", "yes"),
        "variable B must be \"true\" or \"false\""
    );
    assert_eq!(refusal("O", "c"), "variable O must be one of \"a\" \"b\"");
    assert!(apply(&spec, &settings(&[("N", "9"), ("B", "true"), ("O", "b")])).is_ok());
}

#[test]
fn a_secret_goes_to_its_file_and_not_to_the_environment() {
    let spec = spec(
        r#","settable":{"TOKEN":{"secret":true}},"files":[{"target":"/run/secrets/token","content":{"setting":"TOKEN"}}]"#,
    );
    let resolved = apply(&spec, &settings(&[("TOKEN", "s3cret")])).unwrap();
    assert!(resolved.environment.is_empty());
    assert_eq!(resolved.files[0].content, "s3cret");
    assert!(!format!("{resolved:?}").contains("s3cret"));
    assert!(apply(&spec, &settings(&[])).unwrap().files.is_empty());
}

#[test]
fn a_file_cannot_take_a_variable_that_the_publisher_did_not_list() {
    let spec = spec(r#","files":[{"target":"/f","content":{"setting":"X"}}]"#);
    assert!(matches!(
        apply(&spec, &settings(&[])),
        Err(Rejection::UnlistedFile { .. })
    ));
}

proptest! {
    /// Whatever the server sends, nothing but the listed variables differs from what was signed.
    #[test]
    fn settings_change_nothing_but_the_listed_variables(
        signed in prop::collection::btree_map("[A-F]", "[a-z]{0,3}", 0..5),
        listed in prop::collection::btree_set("[A-F]", 0..5),
        sent in prop::collection::btree_map("[A-F]", "[a-z0-9]{0,3}", 0..5),
    ) {
        let mut spec = spec("");
        spec.environment = signed.clone();
        spec.settable = listed.iter().map(|name| (name.clone(), Settable::default())).collect();
        match apply(&spec, &Settings { version: 1, environment: sent.clone() }) {
            Ok(resolved) => {
                let fixed = |all: &BTreeMap<String, String>| {
                    let mut rest = all.clone();
                    rest.retain(|name, _| !listed.contains(name));
                    rest
                };
                prop_assert_eq!(fixed(&resolved.environment), fixed(&signed));
                for (name, value) in &sent {
                    prop_assert_eq!(&resolved.environment[name], value);
                }
            }
            Err(Rejection::NotSettable(name)) => {
                prop_assert!(sent.contains_key(&name) && !listed.contains(&name));
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
