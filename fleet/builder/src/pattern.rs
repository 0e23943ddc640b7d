//! Patterns of paths: `*`, `?`, `[a-z]`, a backslash before what is meant as it is, and `**`.

/// Whether a path fits a pattern; both are relative and without `.` and `..`.
pub(crate) fn fits(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    // Whether the first `i` parts of the pattern fit the first `j` parts of the path.
    let mut row = vec![false; path.len() + 1];
    row[0] = true;
    for part in pattern {
        let mut next = vec![false; path.len() + 1];
        for j in 0..=path.len() {
            next[j] = if part == "**" {
                row[j] || j > 0 && next[j - 1]
            } else {
                j > 0 && row[j - 1] && part_fits(part, path[j - 1])
            };
        }
        row = next;
    }
    row[path.len()]
}

/// Whether it is more than a plain path.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

fn part_fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let mut row = vec![false; name.len() + 1];
    row[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let mut next = vec![false; name.len() + 1];
        let (token, length) = token(&pattern[at..]);
        for j in 0..=name.len() {
            next[j] = match &token {
                Token::Any => row[j] || j > 0 && next[j - 1],
                Token::One(class) => j > 0 && row[j - 1] && class.holds(name[j - 1]),
            };
        }
        row = next;
        at += length;
    }
    row[name.len()]
}

enum Token {
    Any,
    One(Class),
}

enum Class {
    Every,
    Only(char),
    Ranges {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Class {
    fn holds(&self, c: char) -> bool {
        match self {
            Self::Every => true,
            Self::Only(only) => c == *only,
            Self::Ranges { negated, ranges } => {
                ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&c))
                    != *negated
            }
        }
    }
}

/// The token that the pattern begins with and its length.
fn token(pattern: &[char]) -> (Token, usize) {
    match pattern {
        ['*', ..] => (Token::Any, 1),
        ['?', ..] => (Token::One(Class::Every), 1),
        ['\\', c, ..] => (Token::One(Class::Only(*c)), 2),
        ['[', rest @ ..] => match rest.iter().skip(1).position(|c| *c == ']') {
            Some(end) => {
                let inside = &rest[..=end];
                (Token::One(class(inside)), inside.len() + 2)
            }
            None => (Token::One(Class::Only('[')), 1),
        },
        [c, ..] => (Token::One(Class::Only(*c)), 1),
        [] => (Token::Any, 1),
    }
}

fn class(inside: &[char]) -> Class {
    let (negated, mut rest) = match inside {
        ['^' | '!', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut ranges = Vec::new();
    while let [first, after @ ..] = rest {
        match after {
            ['-', last, after @ ..] => {
                ranges.push((*first, *last));
                rest = after;
            }
            _ => {
                ranges.push((*first, *first));
                rest = after;
            }
        }
    }
    Class::Ranges { negated, ranges }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_docker() {
        let cases = [
            ("*.rs", "main.rs", true),
            ("*.rs", "src/main.rs", false),
            ("**/*.rs", "main.rs", true),
            ("**/*.rs", "src/deep/main.rs", true),
            ("src/**", "src/a/b", true),
            ("a?c", "abc", true),
            ("a[b-d]c", "acc", true),
            ("a[^b-d]c", "acc", false),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("[", "[", true),
            ("**/**/x", "x", true),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(fits(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends_soon() {
        assert!(!fits(&("*a".repeat(200) + "b"), &"a".repeat(3000)));
    }
}
