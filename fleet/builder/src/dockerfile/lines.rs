//! Physical lines to logical ones: continuations, comments, directives, here-documents.

use lightship_spec::problem::{Collector, Place};

/// The logical lines of a file.
pub(super) struct Lines {
    pub(super) all: Vec<Line>,
    pub(super) escape: char,
}

/// One instruction with everything that belongs to it.
pub(super) struct Line {
    /// Without continuations; ends without a line break.
    pub(super) text: String,
    /// Where each piece of `text` stands: its offset and its place.
    pieces: Vec<(usize, Place)>,
    pub(super) heredocs: Vec<Heredoc>,
    pub(super) escape: char,
}

/// `<<NAME` with its body.
#[derive(Clone, Debug)]
pub(super) struct Heredoc {
    pub(super) name: String,
    pub(super) body: String,
    /// Variables are put in, unless the name was quoted.
    pub(super) expand: bool,
}

impl Line {
    pub(super) fn place(&self, offset: usize) -> Place {
        let found = self.pieces.iter().rev().find(|(start, _)| *start <= offset);
        let (start, place) = found.expect("the first piece starts at 0");
        let column = place.column + self.text[*start..offset].chars().count();
        Place { column, ..*place }
    }

    /// The instruction's name and the offset of what follows it.
    pub(super) fn keyword(&self) -> (&str, usize) {
        let end = self
            .text
            .find(char::is_whitespace)
            .unwrap_or(self.text.len());
        let rest = &self.text[end..];
        let start = end + (rest.len() - rest.trim_start().len());
        (&self.text[..end], start)
    }
}

pub(super) fn split(text: &str, problems: &mut Collector<'_>) -> Lines {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let physical: Vec<&str> = text.lines().collect();
    let escape = escape(&physical, problems);
    let mut all = Vec::new();
    let mut next = 0;
    while next < physical.len() {
        if is_empty(physical[next]) {
            next += 1;
            continue;
        }
        let mut line = logical(&physical, &mut next, escape);
        let (keyword, _) = line.keyword();
        if ["RUN", "COPY", "ADD"]
            .iter()
            .any(|name| keyword.eq_ignore_ascii_case(name))
        {
            line.heredocs = heredocs(&line, &physical, &mut next, problems);
        }
        all.push(line);
    }
    Lines { all, escape }
}

fn is_empty(line: &str) -> bool {
    let line = line.trim_start();
    line.is_empty() || line.starts_with('#')
}

/// Directives stand before everything else: `# escape=` and a backtick.
fn escape(physical: &[&str], problems: &mut Collector<'_>) -> char {
    for (index, line) in physical.iter().enumerate() {
        let directive = line
            .trim()
            .strip_prefix('#')
            .and_then(|rest| rest.split_once('='));
        let Some((name, value)) = directive else {
            break;
        };
        match (name.trim().to_ascii_lowercase().as_str(), value.trim()) {
            ("escape", "`") => return '`',
            ("escape", "\\") => return '\\',
            ("escape", other) => {
                let place = Place {
                    line: index + 1,
                    column: 1,
                };
                let help = Some("use \\ or `".to_owned());
                problems.add(place, "escape", format!("unknown escape {other:?}"), help);
            }
            ("syntax" | "check", _) => {}
            _ => break,
        }
    }
    '\\'
}

fn logical(physical: &[&str], next: &mut usize, escape: char) -> Line {
    let mut line = Line {
        text: String::new(),
        pieces: Vec::new(),
        heredocs: Vec::new(),
        escape,
    };
    while let Some(piece) = physical.get(*next) {
        *next += 1;
        let is_first = line.pieces.is_empty();
        if !is_first && is_empty(piece) {
            // Comments and empty lines inside an instruction do not end it.
            continue;
        }
        let trimmed = if is_first { piece.trim_start() } else { piece };
        let column = piece[..piece.len() - trimmed.len()].chars().count() + 1;
        let place = Place {
            line: *next,
            column,
        };
        line.pieces.push((line.text.len(), place));
        let whole = trimmed.trim_end();
        match whole.strip_suffix(escape) {
            Some(part) => line.text.push_str(part),
            None => {
                line.text.push_str(whole);
                break;
            }
        }
    }
    line.text.truncate(line.text.trim_end().len());
    line
}

fn heredocs(
    line: &Line,
    physical: &[&str],
    next: &mut usize,
    problems: &mut Collector<'_>,
) -> Vec<Heredoc> {
    let mut found = Vec::new();
    for word in line.text.split_whitespace() {
        let Some((strip_tabs, name, expand)) = heredoc_name(word) else {
            continue;
        };
        let mut body = String::new();
        let mut closed = false;
        while let Some(text) = physical.get(*next) {
            *next += 1;
            let text = if strip_tabs {
                text.trim_start_matches('\t')
            } else {
                text
            };
            if text == name {
                closed = true;
                break;
            }
            body.push_str(text);
            body.push('\n');
        }
        if !closed {
            let offset = line.text.find(word).unwrap_or_default();
            let what = format!("the text of <<{name} does not end");
            let help = Some(format!("end it with a line {name}"));
            problems.add(line.place(offset), line.keyword().0, what, help);
        }
        found.push(Heredoc {
            name: name.to_owned(),
            body,
            expand,
        });
    }
    found
}

/// Of `<<EOF`, `<<-EOF`, `<<"EOF"`: whether tabs are stripped, the name, whether variables are put in.
pub(super) fn heredoc_name(word: &str) -> Option<(bool, &str, bool)> {
    let rest = word
        .trim_start_matches(|c: char| c.is_ascii_digit())
        .strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let quoted = ['"', '\'']
        .into_iter()
        .find_map(|q| rest.strip_prefix(q)?.strip_suffix(q));
    let name = quoted.unwrap_or(rest);
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let fits = !name.is_empty() && name.chars().all(allowed);
    fits.then_some((strip_tabs, name, quoted.is_none()))
}
