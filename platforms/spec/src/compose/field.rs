//! Reads typed values out of a YAML tree and says what would have been right where it cannot.
//!
//! A reader asks for every field that it knows; [`Fields::finish`] then refuses what is left over, so
//! that no field is ever dropped in silence.

use crate::problem::{Collector, Place, nearest};
use crate::yaml::{Key, Node, Value};

/// A value, its place and the path that leads to it.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) path: String,
    pub(crate) node: &'a Node,
}

/// The fields of a mapping.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    path: String,
    place: Place,
    entries: &'a [(Key, Node)],
    known: Vec<&'static str>,
}

impl<'a> Field<'a> {
    pub(crate) fn root(node: &'a Node) -> Self {
        let path = String::new();
        Self { path, node }
    }

    pub(crate) fn place(&self) -> Place {
        self.node.place
    }

    pub(crate) fn is_null(&self) -> bool {
        self.node.value == Value::Null
    }

    /// Reports that this value is wrong.
    pub(crate) fn wrong(&self, problems: &mut Collector<'_>, what: impl Into<String>, help: &str) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        problems.add(self.place(), &self.path, what, help);
    }

    pub(crate) fn raw_text(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            Value::Null | Value::Sequence(_) | Value::Mapping(_) => None,
        }
    }

    pub(crate) fn text(&self, problems: &mut Collector<'_>) -> Option<&'a str> {
        let text = self.raw_text();
        match text {
            Some(text) if text.contains('\0') => {
                self.wrong(problems, "holds a NUL character", "remove it");
                None
            }
            Some(text) => Some(text),
            None => {
                self.unexpected(problems, "text");
                None
            }
        }
    }

    /// A text that `parse` understands; `expected` completes "expected ...".
    pub(crate) fn parsed<T>(
        &self,
        problems: &mut Collector<'_>,
        expected: &str,
        parse: impl FnOnce(&'a str) -> Option<T>,
    ) -> Option<T> {
        let Some(text) = self.raw_text() else {
            self.unexpected(problems, expected);
            return None;
        };
        let value = parse(text);
        if value.is_none() {
            self.wrong(problems, format!("expected {expected}, found {text:?}"), "");
        }
        value
    }

    pub(crate) fn boolean(&self, problems: &mut Collector<'_>) -> Option<bool> {
        self.parsed(problems, "true or false", |text| match text {
            "true" | "True" | "TRUE" | "yes" | "on" => Some(true),
            "false" | "False" | "FALSE" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    pub(crate) fn items(&self, problems: &mut Collector<'_>) -> Vec<Field<'a>> {
        match &self.node.value {
            Value::Sequence(items) => items.iter().enumerate().map(|i| self.item(i)).collect(),
            Value::Null | Value::Text(_) | Value::Mapping(_) => {
                self.unexpected(problems, "a list");
                Vec::new()
            }
        }
    }

    /// One text or a list of them.
    pub(crate) fn one_or_more(&self, problems: &mut Collector<'_>) -> Vec<Field<'a>> {
        match &self.node.value {
            Value::Text(_) => vec![self.clone()],
            Value::Null | Value::Sequence(_) | Value::Mapping(_) => self.items(problems),
        }
    }

    pub(crate) fn entries(&self, problems: &mut Collector<'_>) -> Vec<(&'a Key, Field<'a>)> {
        match &self.node.value {
            Value::Mapping(entries) => entries.iter().map(|e| (&e.0, self.entry(e))).collect(),
            Value::Null | Value::Text(_) | Value::Sequence(_) => {
                self.unexpected(problems, "a mapping");
                Vec::new()
            }
        }
    }

    pub(crate) fn is_mapping(&self) -> bool {
        matches!(self.node.value, Value::Mapping(_))
    }

    pub(crate) fn is_sequence(&self) -> bool {
        matches!(self.node.value, Value::Sequence(_))
    }

    pub(crate) fn fields(&self, problems: &mut Collector<'_>) -> Option<Fields<'a>> {
        let entries: &[(Key, Node)] = match &self.node.value {
            Value::Mapping(entries) => entries,
            Value::Null => &[],
            Value::Text(_) | Value::Sequence(_) => {
                self.unexpected(problems, "a mapping");
                return None;
            }
        };
        Some(Fields {
            path: self.path.clone(),
            place: self.place(),
            entries,
            known: Vec::new(),
        })
    }

    pub(crate) fn unexpected(&self, problems: &mut Collector<'_>, expected: &str) {
        let found = match &self.node.value {
            Value::Null => "nothing",
            Value::Text(_) => "text",
            Value::Sequence(_) => "a list",
            Value::Mapping(_) => "a mapping",
        };
        self.wrong(problems, format!("expected {expected}, found {found}"), "");
    }

    fn item(&self, (index, node): (usize, &'a Node)) -> Field<'a> {
        let path = format!("{}[{index}]", self.path);
        Field { path, node }
    }

    fn entry(&self, (key, node): &'a (Key, Node)) -> Field<'a> {
        let path = below(&self.path, &key.name);
        Field { path, node }
    }
}

fn below(path: &str, name: &str) -> String {
    const LONGEST: usize = 40;
    let name = match name.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &name[..end]),
        None => name.to_owned(),
    };
    let name = name.replace(char::is_control, " ");
    if path.is_empty() {
        name
    } else {
        format!("{path}.{name}")
    }
}

impl<'a> Fields<'a> {
    /// The field of this name, unless it is absent or null.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<Field<'a>> {
        self.known.push(name);
        let (_, node) = self.entries.iter().find(|(key, _)| key.name == name)?;
        let path = below(&self.path, name);
        Some(Field { path, node }).filter(|field| !field.is_null())
    }

    /// As [`Self::take`]; its absence is a problem.
    pub(crate) fn demand(
        &mut self,
        name: &'static str,
        problems: &mut Collector<'_>,
    ) -> Option<Field<'a>> {
        let field = self.take(name);
        if field.is_none() {
            let what = format!("{name} is missing");
            problems.add(self.place, &self.path, what, None);
        }
        field
    }

    /// Refuses every field that was not asked for; `unsupported` says why for those that Compose has.
    pub(crate) fn finish(self, unsupported: &[(&str, &str)], problems: &mut Collector<'_>) {
        #[cfg(test)]
        super::walk::note(&self.path, &self.known);
        for (key, _) in self.entries {
            let name = key.name.as_str();
            let foreign_extension = name.starts_with("x-") && name != EXTENSION;
            if self.known.contains(&name) || foreign_extension {
                continue;
            }
            let path = below(&self.path, name);
            if let Some((_, why)) = unsupported.iter().find(|(known, _)| *known == name) {
                problems.add(key.place, &path, "not supported", Some((*why).to_owned()));
                continue;
            }
            let help = match nearest(name, self.known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if self.known.len() > MOST_LISTED => {
                    "the Compose specification has none like it".to_owned()
                }
                None if self.known.is_empty() => "nothing belongs here".to_owned(),
                None => format!("known here: {}", self.known.join(", ")),
            };
            problems.add(key.place, &path, "unknown field", Some(help));
        }
    }
}

/// Where more fields than this are known, a list of them is no help.
const MOST_LISTED: usize = 12;

/// The key under which Compose files carry what is Lightship's own.
pub(crate) const EXTENSION: &str = "x-lightship";
