//! Words of an instruction: where they begin and end, quotes, and variables.

/// Looks a variable up.
pub(crate) trait Scope {
    /// Its value, if it has one.
    fn value(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Scope for F {
    fn value(&self, name: &str) -> Option<String> {
        self(name)
    }
}

const MAX_NESTING: usize = 8;

/// A value does not grow beyond this by what is put in.
const MAX_EXPANDED_BYTES: usize = 128 * 1024;

/// Splits at blanks that are neither quoted nor escaped; offsets are within `text`, quotes stay.
pub(super) fn split(text: &str, escape: char) -> Result<Vec<(usize, &str)>, (usize, String)> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quote: Option<(usize, char)> = None;
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match quote {
            Some((_, open)) if c == open => quote = None,
            Some((_, '"')) if c == escape => {
                chars.next();
            }
            Some(_) => {}
            None if c.is_whitespace() => {
                words.extend(start.take().map(|start| (start, &text[start..index])));
                continue;
            }
            None if c == escape => {
                chars.next();
            }
            None if c == '"' || c == '\'' => quote = Some((index, c)),
            None => {}
        }
        start.get_or_insert(index);
    }
    if let Some((index, c)) = quote {
        return Err((index, format!("a quote {c} that is never closed")));
    }
    words.extend(start.map(|start| (start, &text[start..])));
    Ok(words)
}

/// Takes quotes and escapes away and puts variables in; one without a value is empty, as in Docker.
pub(crate) fn expand(word: &str, escape: char, scope: &dyn Scope) -> Result<String, String> {
    let chars: Vec<char> = word.chars().collect();
    let mut reader = Reader {
        chars: &chars,
        at: 0,
        escape,
        scope,
    };
    let out = reader.until(None, 0)?;
    Ok(out)
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
    escape: char,
    scope: &'a dyn Scope,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.chars.get(self.at).copied();
        self.at += usize::from(c.is_some());
        c
    }

    fn until(&mut self, end: Option<char>, depth: usize) -> Result<String, String> {
        if depth > MAX_NESTING {
            return Err(format!("variables nested deeper than {MAX_NESTING}"));
        }
        let mut out = String::new();
        while let Some(c) = self.next() {
            if Some(c) == end {
                return Ok(out);
            }
            match c {
                '\'' => self.single_quoted(&mut out)?,
                '"' => self.double_quoted(&mut out, depth)?,
                '$' => self.variable(&mut out, depth)?,
                c if c == self.escape => out.extend(self.next()),
                c => out.push(c),
            }
            if out.len() > MAX_EXPANDED_BYTES {
                return Err(format!(
                    "variables make more than {MAX_EXPANDED_BYTES} bytes"
                ));
            }
        }
        match end {
            Some(_) => Err("${ without its }".to_owned()),
            None => Ok(out),
        }
    }

    fn single_quoted(&mut self, out: &mut String) -> Result<(), String> {
        while let Some(c) = self.next() {
            if c == '\'' {
                return Ok(());
            }
            out.push(c);
        }
        Err("a quote ' that is never closed".to_owned())
    }

    fn double_quoted(&mut self, out: &mut String, depth: usize) -> Result<(), String> {
        while let Some(c) = self.next() {
            match c {
                '"' => return Ok(()),
                '$' => self.variable(out, depth)?,
                c if c == self.escape => match self.next() {
                    Some(c) if c == '"' || c == '$' || c == self.escape => out.push(c),
                    Some(other) => out.extend([c, other]),
                    None => out.push(c),
                },
                c => out.push(c),
            }
        }
        Err("a quote \" that is never closed".to_owned())
    }

    fn variable(&mut self, out: &mut String, depth: usize) -> Result<(), String> {
        if self.chars.get(self.at) != Some(&'{') {
            let name = self.name();
            if name.is_empty() {
                out.push('$');
            } else {
                out.push_str(&self.scope.value(&name).unwrap_or_default());
            }
            return Ok(());
        }
        self.at += 1;
        let name = self.name();
        let value = self.scope.value(&name);
        let filled = value.clone().filter(|value| !value.is_empty());
        let rule = (self.next(), self.chars.get(self.at).copied());
        match rule {
            _ if name.is_empty() => return Err("${ without a variable name".to_owned()),
            (Some('}'), _) => out.push_str(&value.unwrap_or_default()),
            (Some(':'), Some('-')) => out.push_str(&self.other(filled, 1, depth)?),
            (Some('-'), _) => out.push_str(&self.other(value, 0, depth)?),
            (Some(':'), Some('+')) => self.replacement(filled.is_some(), 1, out, depth)?,
            (Some('+'), _) => self.replacement(value.is_some(), 0, out, depth)?,
            (None, _) => return Err("${ without its }".to_owned()),
            _ => return Err(format!("after ${{{name} come }}, :- or :+")),
        }
        Ok(())
    }

    /// The value, else the default that follows; the default is read in any case.
    fn other(
        &mut self,
        value: Option<String>,
        skip: usize,
        depth: usize,
    ) -> Result<String, String> {
        self.at += skip;
        let default = self.until(Some('}'), depth + 1)?;
        Ok(value.unwrap_or(default))
    }

    fn replacement(
        &mut self,
        set: bool,
        skip: usize,
        out: &mut String,
        depth: usize,
    ) -> Result<(), String> {
        self.at += skip;
        let replacement = self.until(Some('}'), depth + 1)?;
        if set {
            out.push_str(&replacement);
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.get(self.at) {
            let fits =
                c.is_ascii_alphabetic() || *c == '_' || c.is_ascii_digit() && !name.is_empty();
            if !fits {
                break;
            }
            name.push(*c);
            self.at += 1;
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(word: &str) -> Result<String, String> {
        let scope = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        };
        expand(word, '\\', &scope)
    }

    #[test]
    fn words_are_put_together_as_docker_does() {
        let cases = [
            ("a$A-${A}", "a1-1"),
            (r#""x y"'$A'\$A"#, "x y$A$A"),
            ("${NO:-d${A}}${E:-e}${E-no}", "d1e"),
            ("${A:+yes}${NO:+no}${E+set}", "yesset"),
            ("$NO$", "$"),
            (r#""\n\"""#, "\\n\""),
        ];
        for (word, expected) in cases {
            assert_eq!(expanded(word).as_deref(), Ok(expected), "{word}");
        }
        for wrong in ["${A", "${A#x}", "${}", "'a", "\"a", "${A:?x}"] {
            assert!(expanded(wrong).is_err(), "{wrong}");
        }
        assert!(expanded(&("${N:-".repeat(40) + &"}".repeat(40))).is_err());
    }

    #[test]
    fn a_quoted_or_escaped_blank_does_not_split() {
        let words = split(r#"A="x y" B=a\ b  'c d'"#, '\\').unwrap();
        assert_eq!(words, [(0, r#"A="x y""#), (8, r"B=a\ b"), (16, "'c d'")]);
        assert_eq!(split("a 'b", '\\').unwrap_err().0, 2);
    }
}
