//! `COPY` and `ADD`.

use super::super::lines::{Heredoc, heredoc_name};
use super::super::options::{self, Given};
use super::{Copy, Inline, Reader, json};

impl Reader<'_, '_, '_> {
    pub(super) fn copy(&mut self, at: usize, is_add: bool) -> Option<Copy> {
        let (given, at) = options::take(self.line, at);
        let mut copy = Copy {
            from: None,
            chown: None,
            chmod: None,
            sources: Vec::new(),
            inline: Vec::new(),
            target: String::new(),
            unpack: is_add,
            engine_only: None,
        };
        for option in &given {
            self.copy_option(option, is_add, &mut copy);
        }
        let mut words = match json(&self.line.text[at..]) {
            Some(words) => words,
            None => self
                .words(at)?
                .into_iter()
                .map(|(_, word)| word.to_owned())
                .collect(),
        };
        if words.len() < 2 {
            self.wrong(at, "expected what to copy and where to", "");
            return None;
        }
        copy.target = words.pop().expect("there are two words");
        for word in words {
            match self.line.heredocs.iter().find(|h| is_heredoc(&word, h)) {
                Some(heredoc) => copy.inline.push(Inline {
                    name: heredoc.name.clone(),
                    text: heredoc.body.clone(),
                    expand: heredoc.expand,
                }),
                None => copy.sources.push(word),
            }
        }
        let remote = |source: &&String| source.contains("://") || source.starts_with("git@");
        if let Some(source) = copy.sources.iter().find(remote) {
            if is_add {
                copy.engine_only = Some(format!("ADD of {source}"));
            } else {
                self.wrong(
                    at,
                    format!("{source:?} is not in the context"),
                    "use ADD for what is remote",
                );
            }
        }
        Some(copy)
    }

    fn copy_option(&mut self, option: &Given<'_>, is_add: bool, copy: &mut Copy) {
        const COPY: [&str; 6] = ["from", "chown", "chmod", "link", "parents", "exclude"];
        const ADD: [&str; 6] = [
            "chown",
            "chmod",
            "link",
            "exclude",
            "checksum",
            "keep-git-dir",
        ];
        match (option.name, option.value) {
            ("from", Some(value)) if !is_add => copy.from = Some(value.to_owned()),
            ("chown", Some(value)) => copy.chown = Some(value.to_owned()),
            ("chmod", Some(value)) => match u32::from_str_radix(value, 8) {
                Ok(bits) if bits <= 0o7777 => copy.chmod = Some(bits),
                Ok(_) => self.wrong(
                    option.offset,
                    "--chmod needs permission bits such as 755",
                    "",
                ),
                Err(_) if !value.starts_with(|c: char| c.is_ascii_digit()) => {
                    copy.engine_only = Some(format!("--chmod={value}"));
                }
                Err(_) => self.wrong(
                    option.offset,
                    "--chmod needs permission bits such as 755",
                    "",
                ),
            },
            // Each copy is a layer of its own here, which is all that it asks for.
            ("link", None | Some("true" | "false")) => {}
            ("parents" | "exclude" | "checksum" | "keep-git-dir", _) => {
                copy.engine_only = Some(format!("--{}", option.name));
            }
            _ if is_add => options::unknown(self.line, option, &ADD, self.problems),
            _ => options::unknown(self.line, option, &COPY, self.problems),
        }
    }
}

fn is_heredoc(word: &str, heredoc: &Heredoc) -> bool {
    heredoc_name(word).is_some_and(|(_, name, _)| name == heredoc.name)
}
