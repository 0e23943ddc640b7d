//! What is printed: sentences and tables for people, JSON for programs. Progress goes to stderr and only to a terminal.

use std::io::{IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::failure::Failure;

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether a program reads what is printed.
    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Shows a result.
    pub(crate) fn show<T: Serialize + ?Sized>(self, value: &T, human: impl FnOnce(&T) -> String) {
        let text = if self.json {
            serde_json::to_string_pretty(value).unwrap_or_default()
        } else {
            human(value)
        };
        line(text.trim_end());
    }

    /// One of many results: a line of JSON each.
    pub(crate) fn stream<T: Serialize>(self, value: &T, human: impl FnOnce(&T) -> String) {
        let text = if self.json {
            serde_json::to_string(value).unwrap_or_default()
        } else {
            human(value)
        };
        line(&text);
    }

    /// Something done that has no other result.
    pub(crate) fn done(self, what: &str) {
        self.show(&serde_json::json!({ "done": what }), |_| what.to_owned());
    }

    /// Something worth knowing on the way; not for programs.
    pub(crate) fn remark(self, text: &str) {
        if !self.json {
            eprintln!("{text}");
        }
    }

    pub(crate) fn failure(self, failure: &Failure) {
        if self.json {
            let text = serde_json::json!({ "error": failure });
            eprintln!("{text}");
        } else {
            eprintln!("{failure}");
        }
    }

    /// A bar that counts bytes.
    pub(crate) fn bytes(self, what: &str, total: u64) -> ProgressBar {
        let style = "{prefix:30!} {bar:30} {bytes:>11} / {total_bytes:11} {bytes_per_sec}";
        self.bar(what, total, style)
    }

    /// A bar that counts things.
    pub(crate) fn count(self, what: &str, total: u64) -> ProgressBar {
        self.bar(what, total, "{prefix:30!} {bar:30} {pos} / {len} {msg}")
    }

    fn bar(self, what: &str, total: u64, style: &str) -> ProgressBar {
        let target = if self.json || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let style = ProgressStyle::with_template(style).expect("the template is a constant");
        let bar = ProgressBar::with_draw_target(Some(total), target);
        bar.with_style(style).with_prefix(what.to_owned())
    }
}

/// A reader that went away, such as `head`, is no error.
fn line(text: &str) {
    let _gone = writeln!(std::io::stdout(), "{text}").is_err();
}

/// Columns as wide as their widest cell.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Lines of a name and a value.
pub(crate) fn sheet(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = lines.iter().filter(|(_, value)| !value.is_empty());
    lines
        .map(|(name, value)| format!("{name:width$}  {value}\n"))
        .collect()
}

/// What an absent value is shown as.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Text that others wrote, without what a terminal would obey.
pub(crate) fn harmless(text: &str) -> String {
    let shown = |c: char| c == '\t' || !c.is_control();
    text.chars()
        .map(|c| if shown(c) { c } else { '\u{fffd}' })
        .collect()
}
