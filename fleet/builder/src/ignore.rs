//! `.dockerignore`: what of the folder is no part of the context.

use crate::pattern;

/// The rules, in order; the last that fits decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    pattern: String,
    /// `!`: what fits is in the context after all.
    keep: bool,
}

impl Ignore {
    pub(crate) fn read(text: &str) -> Self {
        let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
        let rules = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rules = rules.filter_map(|line| {
            let (keep, pattern) = match line.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, line),
            };
            let parts = pattern.split('/').filter(|part| !matches!(*part, "" | "."));
            let pattern = parts.collect::<Vec<_>>().join("/");
            (!pattern.is_empty()).then_some(Rule { pattern, keep })
        });
        Self {
            rules: rules.collect(),
        }
    }

    /// Whether the path is left out. A rule that fits a folder covers all that is in it.
    pub(crate) fn leaves_out(&self, path: &str) -> bool {
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        let prefixes: Vec<&str> = ends.map(|end| &path[..end]).collect();
        let fits = |rule: &&Rule| {
            prefixes
                .iter()
                .any(|prefix| pattern::fits(&rule.pattern, prefix))
        };
        self.rules
            .iter()
            .rev()
            .find(fits)
            .is_some_and(|rule| !rule.keep)
    }

    /// Whether something in a folder that is left out may be kept after all.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_that_fits_decides() {
        let ignore = Ignore::read(
            "# comment\n/target/\n*.md\n!README.md\n**/secret*\n./a/b\nall/*\n!all/but\n",
        );
        for path in [
            "target",
            "target/debug/x",
            "NOTES.md",
            "deep/er/secret.txt",
            "a/b/c",
            "all/x",
        ] {
            assert!(ignore.leaves_out(path), "{path}");
        }
        for path in [
            "README.md",
            "src/target",
            "src/NOTES.md",
            "a",
            "all/but",
            "all/but/deep",
        ] {
            assert!(!ignore.leaves_out(path), "{path}");
        }
    }
}
