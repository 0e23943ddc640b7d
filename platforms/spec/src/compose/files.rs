//! `configs` and `secrets`: files that the engine writes into the container.
//!
//! With `file` or `content` the publisher signs the text as part of the spec; with `environment` or
//! `external` it is the device's value for that variable, which this makes settable.

use std::collections::BTreeMap;

use super::field::{Field, Fields};
use super::process::absolute;
use super::project::{Shared, Source};
use super::quantity::{MODE, mode};
use crate::container::{ContainerSpec, Content, InlineFile, Settable};
use crate::problem::Collector;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Config,
    Secret,
}

pub(crate) fn read(
    fields: &mut Fields<'_>,
    shared: &Shared,
    spec: &mut ContainerSpec,
    problems: &mut Collector<'_>,
) {
    for (sort, name, known) in [
        (Sort::Config, "configs", &shared.configs),
        (Sort::Secret, "secrets", &shared.secrets),
    ] {
        let items = fields
            .take(name)
            .map(|f| f.items(problems))
            .unwrap_or_default();
        for item in items {
            if let Some(file) = one(sort, &item, known, &mut spec.settable, problems) {
                if spec.files.iter().any(|other| other.target == file.target) {
                    item.wrong(problems, format!("{} is written twice", file.target), "");
                }
                spec.files.push(file);
            }
        }
    }
}

fn one(
    sort: Sort,
    item: &Field<'_>,
    known: &BTreeMap<String, Source>,
    settable: &mut BTreeMap<String, Settable>,
    problems: &mut Collector<'_>,
) -> Option<InlineFile> {
    let mut source = item.clone();
    let mut target = None;
    let (mut uid, mut gid, mut bits) = (0, 0, 0o444);
    if item.is_mapping() {
        let mut fields = item.fields(problems)?;
        source = fields.demand("source", problems)?;
        target = fields.take("target");
        let mut number = |name, or| {
            let field = fields.take(name);
            field
                .and_then(|f| f.parsed(problems, "a number", |t| t.parse().ok()))
                .unwrap_or(or)
        };
        uid = number("uid", uid);
        gid = number("gid", gid);
        if let Some(field) = fields.take("mode") {
            bits = field.parsed(problems, MODE, mode)?;
        }
        fields.finish(&[], problems);
    }
    let name = source.text(problems)?;
    let Some(content) = known.get(name) else {
        let word = if sort == Sort::Config {
            "configs"
        } else {
            "secrets"
        };
        source.wrong(
            problems,
            format!("there is no {name:?}"),
            &format!("name it under the top-level {word}"),
        );
        return None;
    };
    Some(InlineFile {
        target: path(sort, name, target, problems)?,
        content: content_of(sort, content, settable),
        uid,
        gid,
        mode: bits,
    })
}

fn path(
    sort: Sort,
    name: &str,
    target: Option<Field<'_>>,
    problems: &mut Collector<'_>,
) -> Option<String> {
    let relative_to = match sort {
        Sort::Config => "/",
        Sort::Secret => "/run/secrets/",
    };
    let Some(field) = target else {
        return Some(format!("{relative_to}{name}"));
    };
    let text = field.text(problems)?;
    if sort == Sort::Secret && !text.contains('/') && !text.is_empty() {
        return Some(format!("{relative_to}{text}"));
    }
    absolute(&field, problems)
}

fn content_of(sort: Sort, source: &Source, settable: &mut BTreeMap<String, Settable>) -> Content {
    match source {
        Source::Text(text) => Content::Text(text.clone()),
        Source::Setting(name) => {
            let entry = settable.entry(name.clone()).or_default();
            entry.required = true;
            entry.secret |= sort == Sort::Secret;
            Content::Setting(name.clone())
        }
    }
}
