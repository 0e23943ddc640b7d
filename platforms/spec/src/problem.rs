//! What is wrong with a file that a person wrote: where, which field, and what would be right.
//!
//! All problems of a file are reported at once, up to [`MAX_PROBLEMS`].

use std::fmt;

/// After so many problems reading goes on but nothing more is reported.
pub const MAX_PROBLEMS: usize = 50;

/// A place in a text, both counted from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name of the file as it was given.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// The field (`services.web.ports[0]`) or instruction; empty when it is the file as a whole.
    pub field: String,
    /// What is wrong, in one clause.
    pub what: String,
    /// What would be right.
    pub help: Option<String>,
    /// The line of the file, for showing.
    pub line: String,
}

impl fmt::Display for Problem {
    /// `{}` is one line; `{:#}` adds the line of the file with a mark below the place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        write!(f, "{}:{line}:{column}: ", self.file)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.what)?;
        if let Some(help) = &self.help {
            write!(f, "; {help}")?;
        }
        if f.alternate() && !self.line.is_empty() {
            let indent = " ".repeat(column - 1);
            write!(f, "\n{line:>5} | {}\n      | {indent}^", self.line)?;
        }
        Ok(())
    }
}

/// Everything that is wrong, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(problem, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects the problems of one text.
#[derive(Clone, Debug)]
pub struct Collector<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<Problem>,
}

impl<'a> Collector<'a> {
    /// Collects for this file with this text.
    pub fn new(file: &'a str, text: &'a str) -> Self {
        let found = Vec::new();
        Self { file, text, found }
    }

    /// Adds a problem.
    pub fn add(
        &mut self,
        place: Place,
        field: &str,
        what: impl Into<String>,
        help: Option<String>,
    ) {
        let line = self.text.lines().nth(place.line.saturating_sub(1));
        self.push(Problem {
            file: self.file.to_owned(),
            place,
            field: field.to_owned(),
            what: what.into(),
            help,
            line: shown(line.unwrap_or_default(), place.column),
        });
    }

    /// Takes over the problems of another file that this one names.
    pub fn extend(&mut self, problems: Problems) {
        problems
            .0
            .into_iter()
            .for_each(|problem| self.push(problem));
    }

    /// Whether anything is wrong so far with this field or below it.
    pub fn has(&self, field: &str) -> bool {
        self.found
            .iter()
            .any(|problem| problem.field.starts_with(field))
    }

    /// Whether anything is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// `value` when nothing is wrong, else everything that is.
    pub fn finish<T>(mut self, value: T) -> Result<T, Problems> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found
            .sort_by(|a, b| (&a.file, a.place).cmp(&(&b.file, b.place)));
        Err(Problems(self.found))
    }

    fn push(&mut self, problem: Problem) {
        if self.found.len() < MAX_PROBLEMS && !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }
}

/// The line without control characters, or nothing when it is too long to be of use.
fn shown(line: &str, column: usize) -> String {
    const WIDEST: usize = 160;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if line.chars().count() > WIDEST || column > WIDEST {
        return String::new();
    }
    line.chars().map(clean).collect()
}

/// The one of `known` that was probably meant by `given`.
pub fn nearest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let most = (given.chars().count() / 3).clamp(1, 2);
    known
        .into_iter()
        .map(|name| (distance(given, name), name))
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, name)| name)
}

/// Edits (insert, delete, replace, swap neighbours) that make one word the other.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > LONGEST || b.len() > LONGEST {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        rows[i][0] = i;
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_stranger_is_not() {
        let known = ["ports", "profiles", "command"];
        assert_eq!(nearest("prots", known), Some("ports"));
        assert_eq!(nearest("comand", known), Some("command"));
        assert_eq!(nearest("colour", known), None);
    }

    #[test]
    fn a_problem_shows_its_line_with_a_mark_below_the_place() {
        let mut collector = Collector::new("compose.yaml", "services:\n  web:\n    prots: []\n");
        let place = Place { line: 3, column: 5 };
        collector.add(place, "services.web.prots", "unknown field", None);
        let problems = collector.finish(()).unwrap_err();
        let expected = "compose.yaml:3:5: services.web.prots: unknown field
    3 |     prots: []
      |     ^";
        assert_eq!(format!("{:#}", problems), expected);
    }
}
