//! `HEALTHCHECK`.

use super::super::options::{self, Given};
use super::{Health, Reader};

impl Reader<'_, '_, '_> {
    pub(super) fn health(&mut self, at: usize) -> Option<Option<Health>> {
        const KNOWN: [&str; 5] = [
            "interval",
            "timeout",
            "start-period",
            "start-interval",
            "retries",
        ];
        let (given, at) = options::take(self.line, at);
        let text = &self.line.text[at..];
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        if word.eq_ignore_ascii_case("NONE") && rest.is_empty() && given.is_empty() {
            return Some(None);
        }
        if !word.eq_ignore_ascii_case("CMD") || rest.trim().is_empty() {
            self.wrong(at, "expected NONE or CMD and a command", "");
            return None;
        }
        let mut health = Health {
            test: self.command(self.line.text.len() - rest.trim_start().len())?,
            interval: None,
            timeout: None,
            start_period: None,
            start_interval: None,
            retries: None,
        };
        for option in given {
            match option.name {
                "interval" => health.interval = self.time(&option),
                "timeout" => health.timeout = self.time(&option),
                "start-period" => health.start_period = self.time(&option),
                "start-interval" => health.start_interval = self.time(&option),
                "retries" => {
                    health.retries = option.value.and_then(|value| value.parse().ok());
                    if health.retries.is_none() {
                        self.wrong(option.offset, "--retries needs a number", "");
                    }
                }
                _ => options::unknown(self.line, &option, &KNOWN, self.problems),
            }
        }
        Some(Some(health))
    }

    fn time(&mut self, option: &Given<'_>) -> Option<u64> {
        let time = option.value.and_then(lightship_spec::compose::duration_ms);
        if time.is_none() {
            let what = format!("--{} needs a duration such as 30s or 1m30s", option.name);
            self.wrong(option.offset, what, "");
        }
        time.map(|ms| ms * 1_000_000)
    }
}
