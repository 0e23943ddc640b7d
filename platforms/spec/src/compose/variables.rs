//! `${NAME}` in values, as Compose has it: `$NAME`, `:-` and `-` (default), `:?` and `?` (required),
//! `:+` and `+` (replacement), nested, and `$$` for a dollar sign.
//!
//! Other than in Compose, a variable without a value and without a default is a problem and not an
//! empty text: what is signed must not depend on what was forgotten.

use std::collections::BTreeMap;

use super::field::Field;
use crate::problem::Collector;
use crate::yaml::{Node, Value};

/// The values to put in.
pub(crate) type Variables = BTreeMap<String, String>;

/// A text does not grow beyond this by what is put in.
const MAX_EXPANDED_BYTES: usize = 256 * 1024;

const MAX_NESTING: usize = 8;

/// Why a text cannot be expanded, and what would be right.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unexpandable {
    pub(crate) what: String,
    pub(crate) help: String,
}

impl Unexpandable {
    fn new(what: impl Into<String>, help: impl Into<String>) -> Self {
        let (what, help) = (what.into(), help.into());
        Self { what, help }
    }
}

/// A copy of the tree with the variables of all values put in.
pub(crate) fn expand_all(node: &Node, variables: &Variables, problems: &mut Collector<'_>) -> Node {
    let mut left = MAX_EXPANDED_BYTES;
    expand_node(&Field::root(node), variables, &mut left, problems)
}

fn expand_node(
    field: &Field<'_>,
    variables: &Variables,
    left: &mut usize,
    problems: &mut Collector<'_>,
) -> Node {
    let value = match &field.node.value {
        Value::Null => Value::Null,
        Value::Text(text) if !text.contains('$') => Value::Text(text.clone()),
        Value::Text(text) => match expand(text, variables) {
            Ok(text) if text.len() <= *left => {
                *left -= text.len();
                Value::Text(text)
            }
            Ok(_) => {
                let what = format!("variables make more than {MAX_EXPANDED_BYTES} bytes");
                field.wrong(problems, what, "");
                Value::Null
            }
            Err(error) => {
                field.wrong(problems, error.what, &error.help);
                Value::Null
            }
        },
        Value::Sequence(_) => {
            let items = field.items(problems);
            let expanded = items
                .iter()
                .map(|item| expand_node(item, variables, left, problems));
            Value::Sequence(expanded.collect())
        }
        Value::Mapping(_) => {
            let entries = field.entries(problems);
            let expanded = entries.iter().map(|(key, entry)| {
                (
                    (*key).clone(),
                    expand_node(entry, variables, left, problems),
                )
            });
            Value::Mapping(expanded.collect())
        }
    };
    let place = field.place();
    Node { place, value }
}

/// The text with its variables put in.
pub(crate) fn expand(text: &str, variables: &Variables) -> Result<String, Unexpandable> {
    expand_nested(text, variables, 0)
}

fn expand_nested(text: &str, variables: &Variables, depth: usize) -> Result<String, Unexpandable> {
    if depth > MAX_NESTING {
        let what = format!("variables nested deeper than {MAX_NESTING}");
        return Err(Unexpandable::new(
            what,
            "use fewer defaults inside defaults",
        ));
    }
    let mut out = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let end = closing(after)?;
            out.push_str(&braced(&after[..end], variables, depth)?);
            rest = &after[end + 1..];
        } else {
            let end = name_end(after);
            if end == 0 {
                return Err(stray());
            }
            out.push_str(value(&after[..end], variables)?);
            rest = &after[end..];
        }
        if out.len() > MAX_EXPANDED_BYTES {
            let what = format!("variables make more than {MAX_EXPANDED_BYTES} bytes");
            return Err(Unexpandable::new(what, "use shorter values"));
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn braced(inside: &str, variables: &Variables, depth: usize) -> Result<String, Unexpandable> {
    let (name, rule) = inside.split_at(name_end(inside));
    if name.is_empty() {
        return Err(stray());
    }
    let set = variables.get(name);
    let filled = set.filter(|value| !value.is_empty());
    let nested = |text: &str| expand_nested(text, variables, depth + 1);
    let or_default = |value: Option<&String>, default: &str| match value {
        Some(value) => Ok(value.clone()),
        None => nested(default),
    };
    if rule.is_empty() {
        return value(name, variables).map(str::to_owned);
    }
    if let Some(default) = rule.strip_prefix(":-") {
        return or_default(filled, default);
    }
    if let Some(default) = rule.strip_prefix('-') {
        return or_default(set, default);
    }
    if let Some(message) = rule.strip_prefix(":?") {
        return filled.cloned().ok_or_else(|| required(name, message));
    }
    if let Some(message) = rule.strip_prefix('?') {
        return set.cloned().ok_or_else(|| required(name, message));
    }
    if let Some(other) = rule.strip_prefix(":+") {
        return filled.map_or(Ok(String::new()), |_| nested(other));
    }
    if let Some(other) = rule.strip_prefix('+') {
        return set.map_or(Ok(String::new()), |_| nested(other));
    }
    let what = format!("cannot read ${{{inside}}}");
    Err(Unexpandable::new(
        what,
        "after the name come :-, -, :?, ?, :+ or +",
    ))
}

fn value<'v>(name: &str, variables: &'v Variables) -> Result<&'v str, Unexpandable> {
    variables.get(name).map(String::as_str).ok_or_else(|| {
        let help =
            format!("set it in .env or the environment, or write ${{{name}:-}} for an empty text");
        Unexpandable::new(format!("variable {name} has no value"), help)
    })
}

fn required(name: &str, message: &str) -> Unexpandable {
    let help = match message {
        "" => "set it in .env or the environment",
        message => message,
    };
    Unexpandable::new(format!("variable {name} has no value"), help)
}

fn stray() -> Unexpandable {
    Unexpandable::new("a $ without a variable name", "write $$ for a dollar sign")
}

fn name_end(text: &str) -> usize {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

/// Where the brace that is open closes.
fn closing(text: &str) -> Result<usize, Unexpandable> {
    let mut depth = 0_usize;
    let mut previous = ' ';
    for (index, c) in text.char_indices() {
        match c {
            '{' if previous == '$' => depth += 1,
            '}' if depth == 0 => return Ok(index),
            '}' => depth -= 1,
            _ => {}
        }
        previous = c;
    }
    Err(Unexpandable::new(
        "${ without its }",
        "write $$ for a dollar sign",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let pairs = [("A", "1"), ("EMPTY", ""), ("B", "two")];
        let variables = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        expand(text, &variables).map_err(|error| error.what)
    }

    #[test]
    fn every_form_of_compose_is_understood() {
        let cases = [
            ("$A-${B}", "1-two"),
            ("${EMPTY:-d}${EMPTY-d}", "d"),
            ("${NO:-a${NO:-${B}}b}", "atwob"),
            ("${A:+yes}${NO+no}${EMPTY:+no}${EMPTY+set}", "yesset"),
            ("${A:?x}${EMPTY?x}", "1"),
            ("$$A costs 5$$", "$A costs 5$"),
            ("no variables", "no variables"),
        ];
        for (text, expected) in cases {
            assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_has_no_value_is_a_problem_and_not_an_empty_text() {
        assert_eq!(expanded("$NO").unwrap_err(), "variable NO has no value");
        assert_eq!(
            expanded("${EMPTY:?need it}").unwrap_err(),
            "variable EMPTY has no value"
        );
        assert_eq!(expanded("100$").unwrap_err(), "a $ without a variable name");
        assert_eq!(expanded("${A").unwrap_err(), "${ without its }");
        assert_eq!(expanded("${A!x}").unwrap_err(), "cannot read ${A!x}");
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "${N:-".repeat(50) + &"}".repeat(50);
        assert!(expanded(&deep).unwrap_err().contains("nested deeper"));
    }
}
