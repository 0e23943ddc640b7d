//! `environment`, `env_file` and everything else that is a list of `NAME=value` or a mapping.

use std::collections::BTreeMap;

use super::field::{Field, Fields};
use super::{Input, dotenv};
use crate::container::{ContainerSpec, Settable};
use crate::problem::Collector;
use crate::yaml::Value;

/// A name with its value, if there is one.
#[derive(Debug)]
pub(crate) struct Pair<'a> {
    pub(crate) at: Field<'a>,
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

/// A variable without a value takes it from outside: on a device that is its settings.
pub(crate) fn read(
    fields: &mut Fields<'_>,
    input: &Input<'_>,
    spec: &mut ContainerSpec,
    problems: &mut Collector<'_>,
) {
    if let Some(files) = fields.take("env_file") {
        let items = if files.is_mapping() {
            vec![files]
        } else {
            files.one_or_more(problems)
        };
        for file in items {
            spec.environment
                .extend(env_file(&file, input, problems).unwrap_or_default());
        }
    }
    let Some(environment) = fields.take("environment") else {
        return;
    };
    for pair in pairs(&environment, problems) {
        if !is_variable(&pair.name) {
            let what = format!("{:?} is not a name for a variable", pair.name);
            pair.at.wrong(
                problems,
                what,
                "use any characters but =, blanks and control characters",
            );
        } else if let Some(value) = pair.value {
            spec.environment.insert(pair.name, value);
        } else {
            spec.settable.insert(pair.name, Settable::default());
        }
    }
}

fn env_file(
    file: &Field<'_>,
    input: &Input<'_>,
    problems: &mut Collector<'_>,
) -> Option<BTreeMap<String, String>> {
    let mut required = true;
    let mut raw = false;
    let path = if file.is_mapping() {
        let mut fields = file.fields(problems)?;
        let path = fields.demand("path", problems);
        required = fields
            .take("required")
            .and_then(|f| f.boolean(problems))
            .unwrap_or(true);
        raw = fields
            .take("format")
            .and_then(|f| f.parsed(problems, "raw", |text| (text == "raw").then_some(())))
            .is_some();
        fields.finish(&[], problems);
        path?
    } else {
        file.clone()
    };
    match input.files.read(path.text(problems)?) {
        Ok(text) if raw => Some(raw_lines(&text)),
        Ok(text) => match dotenv::read(path.raw_text()?, &text, input.variables) {
            Ok(values) => Some(values),
            Err(wrong) => {
                problems.extend(wrong);
                None
            }
        },
        Err(_) if !required => None,
        Err(why) => {
            path.wrong(problems, format!("cannot be read: {why}"), "");
            None
        }
    }
}

fn raw_lines(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// `[NAME=value, NAME]` or `{NAME: value, NAME: }`.
pub(crate) fn pairs<'a>(field: &Field<'a>, problems: &mut Collector<'_>) -> Vec<Pair<'a>> {
    if field.is_sequence() {
        let items = field.items(problems).into_iter();
        return items
            .filter_map(|item| item.text(problems).map(|text| pair(text, item)))
            .collect();
    }
    let mut pairs = Vec::new();
    for (key, entry) in field.entries(problems) {
        let value = match &entry.node.value {
            Value::Null => None,
            Value::Text(_) => entry.text(problems).map(str::to_owned),
            Value::Sequence(_) | Value::Mapping(_) => {
                entry.unexpected(problems, "text");
                continue;
            }
        };
        let name = key.name.clone();
        let at = entry;
        pairs.push(Pair { at, name, value });
    }
    pairs
}

fn pair<'a>(text: &str, at: Field<'a>) -> Pair<'a> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let name = name.to_owned();
    Pair { at, name, value }
}

/// The strict form: a name that a shell can use.
pub(crate) fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(allowed) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// The loose form: what `execve` can carry.
pub(crate) fn is_variable(name: &str) -> bool {
    let allowed = |c: char| c != '=' && !c.is_whitespace() && !c.is_control();
    !name.is_empty() && name.len() <= 256 && name.chars().all(allowed)
}
