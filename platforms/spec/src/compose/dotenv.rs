//! Files of `NAME=value` lines: `.env` and `env_file`.
//!
//! `#` starts a comment, `export` is skipped, `'...'` is taken as it is, `"..."` knows escapes, and variables
//! are put in everywhere but in single quotes; earlier lines of the file count as variables.

use std::collections::BTreeMap;

use super::variables::{Unexpandable, expand};
use crate::problem::{Collector, Place, Problems};

/// A longer file is refused.
const MAX_BYTES: usize = 256 * 1024;

pub(crate) fn read(
    file: &str,
    text: &str,
    variables: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Problems> {
    let mut problems = Collector::new(file, text);
    let mut known = variables.clone();
    let mut values = BTreeMap::new();
    if text.len() > MAX_BYTES {
        let what = format!("{} bytes; at most {MAX_BYTES} are read", text.len());
        problems.add(Place { line: 1, column: 1 }, "", what, None);
        return problems.finish(values);
    }
    for (index, line) in text.lines().enumerate() {
        let column = line.len() - line.trim_start().len() + 1;
        let place = Place {
            line: index + 1,
            column,
        };
        match entry(line, &known) {
            Ok(Some((name, value))) => {
                known.insert(name.to_owned(), value.clone());
                values.insert(name.to_owned(), value);
            }
            Ok(None) => {}
            Err(error) => problems.add(place, "", error.what, Some(error.help)),
        }
    }
    problems.finish(values)
}

fn entry<'l>(
    line: &'l str,
    known: &BTreeMap<String, String>,
) -> Result<Option<(&'l str, String)>, Unexpandable> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    let Some((name, value)) = line.split_once('=') else {
        return Err(wrong("a line without =", "write NAME=value"));
    };
    let name = name.trim();
    if !super::environment::is_name(name) {
        let what = format!("{name:?} is not a name for a variable");
        return Err(wrong(
            &what,
            "use letters, digits and _, not starting with a digit",
        ));
    }
    Ok(Some((name, read_value(value.trim(), known)?)))
}

fn read_value(value: &str, known: &BTreeMap<String, String>) -> Result<String, Unexpandable> {
    if let Some(rest) = value.strip_prefix('\'') {
        let inside = rest.split_once('\'').ok_or_else(unclosed)?;
        return comment_only(inside.1).map(|()| inside.0.to_owned());
    }
    if let Some(rest) = value.strip_prefix('"') {
        let (inside, after) = double_quoted(rest)?;
        comment_only(after)?;
        return expand(&inside, known);
    }
    let end = value.find(" #").unwrap_or(value.len());
    expand(value[..end].trim_end(), known)
}

fn double_quoted(text: &str) -> Result<(String, &str), Unexpandable> {
    let mut inside = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            '"' => return Ok((inside, &text[index + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => inside.push('\n'),
                Some((_, 't')) => inside.push('\t'),
                Some((_, 'r')) => inside.push('\r'),
                Some((_, '$')) => inside.push_str("$$"),
                Some((_, c @ ('"' | '\\'))) => inside.push(c),
                Some((_, c)) => inside.extend(['\\', c]),
                None => return Err(unclosed()),
            },
            c => inside.push(c),
        }
    }
    Err(unclosed())
}

fn comment_only(rest: &str) -> Result<(), Unexpandable> {
    let rest = rest.trim();
    if rest.is_empty() || rest.starts_with('#') {
        return Ok(());
    }
    Err(wrong(
        "text after the closing quote",
        "put the whole value into quotes",
    ))
}

fn unclosed() -> Unexpandable {
    wrong("a quote that is never closed", "values are on one line")
}

fn wrong(what: &str, help: &str) -> Unexpandable {
    Unexpandable {
        what: what.to_owned(),
        help: help.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_compose_reads_them() {
        let text =
            "# comment\nA=1\nexport B = two # more\nC='$A'\nD=\"x\\n${A}\\$\"\n\nE=\nF=a#b\n";
        let values = read(".env", text, &BTreeMap::new()).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two"),
            ("C", "$A"),
            ("D", "x\n1$"),
            ("E", ""),
            ("F", "a#b"),
        ];
        let expected: BTreeMap<_, _> = expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        assert_eq!(values, expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let text = "A=1\nnonsense\n2B=3\nC='x\nD=$NO\n";
        let error = read(".env", text, &BTreeMap::new())
            .unwrap_err()
            .to_string();
        let places: Vec<_> = error.lines().map(|line| &line[..7]).collect();
        assert_eq!(
            places,
            [".env:2:", ".env:3:", ".env:4:", ".env:5:"],
            "{error}"
        );
    }
}
