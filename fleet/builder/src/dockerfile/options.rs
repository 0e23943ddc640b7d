//! `--name=value` before the arguments of an instruction.

use lightship_spec::problem::{Collector, nearest};

use super::lines::Line;

/// One option with the offset where it stands.
pub(super) struct Given<'l> {
    pub(super) offset: usize,
    pub(super) name: &'l str,
    pub(super) value: Option<&'l str>,
}

/// The options and the offset of what follows them.
pub(super) fn take<'l>(line: &'l Line, mut at: usize) -> (Vec<Given<'l>>, usize) {
    let mut options = Vec::new();
    loop {
        let rest = &line.text[at..];
        let Some(option) = rest.strip_prefix("--") else {
            return (options, at);
        };
        let end = option.find(char::is_whitespace).unwrap_or(option.len());
        let (name, value) = match option[..end].split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (&option[..end], None),
        };
        options.push(Given {
            offset: at,
            name,
            value,
        });
        let after = &option[end..];
        at = line.text.len() - after.trim_start().len();
    }
}

/// Reports an option that the instruction does not have.
pub(super) fn unknown(
    line: &Line,
    given: &Given<'_>,
    known: &[&str],
    problems: &mut Collector<'_>,
) {
    let what = format!("unknown option --{}", given.name);
    let help = match nearest(given.name, known.iter().copied()) {
        Some(meant) => format!("did you mean --{meant}?"),
        None if known.is_empty() => "it has none".to_owned(),
        None => format!("known here: --{}", known.join(", --")),
    };
    problems.add(line.place(given.offset), line.keyword().0, what, Some(help));
}
