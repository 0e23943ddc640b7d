//! Walks every field of every level of a compose file, as the readers ask for them, and gives each what it cannot be.
//!
//! What is known is not listed here: [`Fields::finish`](super::field::Fields::finish) tells it, so that a new field
//! without a wrong value in the table, and a new level without a file that has it, fail.

mod wrong;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::{Files, Input, read};
use wrong::{ANY_TEXT, LEVELS, WRONG};

thread_local! {
    /// The fields that were known at each level.
    static KNOWN: RefCell<BTreeMap<String, BTreeSet<&'static str>>> = RefCell::default();
}

/// Is told the fields of a level.
pub(super) fn note(level: &str, known: &[&'static str]) {
    KNOWN.with_borrow_mut(|all| all.entry(level.to_owned()).or_default().extend(known));
}

/// One file, and it is empty.
struct OneFile;

impl Files for OneFile {
    fn read(&self, path: &str) -> Result<String, String> {
        match path {
            "present" => Ok(String::new()),
            _ => Err("there is no such file".to_owned()),
        }
    }
}

fn problems(text: &str) -> Vec<String> {
    let (variables, profiles) = (BTreeMap::new(), BTreeSet::new());
    let input = Input {
        file: "compose.yaml",
        text,
        name: "sample",
        variables: &variables,
        profiles: &profiles,
        files: &OneFile,
    };
    match read(&input) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.to_string().lines().map(str::to_owned).collect(),
    }
}

/// The file with this field at its level, and nothing else that excludes it.
fn with(file: &str, field: &str, value: &str) -> String {
    let place = file.lines().find(|line| line.trim_start() == "@").unwrap();
    let indent = &place[..place.len() - 1];
    let excludes = |line: &str| {
        let Some(name) = line
            .strip_prefix(indent)
            .and_then(|rest| rest.split(':').next())
        else {
            return false;
        };
        let builds = ["image", "build"];
        name == field || builds.contains(&name) && builds.contains(&field)
    };
    let lines = file.lines().filter(|line| !excludes(line));
    let lines = lines.map(|line| match line == place {
        true => format!("{indent}{field}: {value}\n"),
        false => format!("{line}\n"),
    });
    lines.collect()
}

/// Every level and every field of it that is known.
fn known() -> BTreeSet<(String, &'static str)> {
    let named = |field: &str| match field {
        // Names that have a meaning.
        "ulimits" => "{ nofile: {} }",
        "depends_on" => "{ y: {} }",
        _ => "{ x: {} }",
    };
    for (_, file) in LEVELS {
        problems(&with(file, "no-such-field", "{}"));
    }
    // What is below a known field comes out when it is given something to look into.
    for (level, file) in LEVELS {
        let fields = KNOWN.with_borrow(|all| all.get(*level).cloned().unwrap_or_default());
        for field in fields {
            for shape in ["{}", "[{}]", named(field)] {
                problems(&with(file, field, shape));
            }
        }
    }
    let all = KNOWN.take();
    let fields = all.into_iter().flat_map(|(level, fields)| {
        // The other service of a file is one too.
        let level = level.replace("services.y", "services.x");
        fields.into_iter().map(move |field| (level.clone(), field))
    });
    fields.collect()
}

fn file_of(level: &str) -> Option<&'static str> {
    LEVELS
        .iter()
        .find(|(known, _)| *known == level)
        .map(|(_, file)| *file)
}

fn path(level: &str, field: &str) -> String {
    match level {
        "" => field.to_owned(),
        level => format!("{level}.{field}"),
    }
}

/// What is not as it should be about what is said of a wrong value; nothing when all is.
fn amiss(level: &str, field: &str, value: &str) -> Option<String> {
    let found = problems(&with(file_of(level)?, field, value));
    let [line] = &found[..] else {
        return Some(format!("{} problems: {found:?}", found.len()));
    };
    let place = path(level, field);
    let told = line.split_once(": ").and_then(|(at, told)| {
        // `compose.yaml:LINE:COLUMN`.
        let numbers = at.strip_prefix("compose.yaml:")?.split(':');
        let is_place = numbers
            .map(|number| number.parse::<usize>())
            .all(|number| number.is_ok());
        let says_where =
            told.starts_with(&place) || told.starts_with(level) && told.contains(field);
        let says_what = told.contains("expected ")
            || told.contains("; ")
            || ["there is no", "is missing"]
                .iter()
                .any(|what| told.contains(what));
        Some(is_place && says_where && says_what)
    });
    (told != Some(true)).then(|| line.clone())
}

#[test]
fn a_field_with_a_wrong_value_is_one_problem_that_says_where_and_what_would_be_right() {
    let mut wrong = Vec::new();
    for (level, field, values) in WRONG {
        assert!(file_of(level).is_some(), "no file has the level {level:?}");
        for value in *values {
            let amiss = amiss(level, field, value);
            wrong.extend(amiss.map(|what| format!("{}: {value}: {what}", path(level, field))));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_field_that_takes_any_text_takes_nothing_else() {
    let mut wrong = Vec::new();
    for (level, field) in ANY_TEXT {
        let value = if *field == "labels" { "3" } else { "[[a]]" };
        let amiss = amiss(level, field, value);
        wrong.extend(amiss.map(|what| format!("{}: {value}: {what}", path(level, field))));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_field_of_every_level_has_a_wrong_value() {
    let known = known();
    assert!(known.len() > 150, "{known:?}");
    let tried: BTreeSet<(&str, &str)> = WRONG
        .iter()
        .map(|(level, field, _)| (*level, *field))
        .chain(ANY_TEXT.iter().copied())
        .collect();
    let missing: Vec<_> = known
        .iter()
        .filter(|(level, field)| !tried.contains(&(level.as_str(), *field)))
        .collect();
    assert!(
        missing.is_empty(),
        "no wrong value is tried for {missing:?}"
    );
    let unknown: Vec<_> = tried
        .iter()
        .filter(|(level, field)| !known.iter().any(|(a, b)| a == level && b == field))
        .collect();
    assert!(unknown.is_empty(), "nobody reads {unknown:?}");
}

#[test]
fn what_is_not_supported_is_refused_by_name_with_what_to_do_instead() {
    let levels = [
        ("", super::unsupported::TOP_LEVEL),
        ("services.x", super::unsupported::SERVICE),
        ("services.x.build", super::unsupported::BUILD),
        ("services.x.deploy", super::unsupported::DEPLOY),
    ];
    for (level, fields) in levels {
        for (field, instead) in fields {
            let found = problems(&with(file_of(level).unwrap(), field, "a"));
            let expected = format!(": {}: not supported; {instead}", path(level, field));
            assert!(
                found.len() == 1 && found[0].ends_with(&expected),
                "{found:?}"
            );
        }
    }
}
