//! What happens, a line for each thing: for people, or in JSON.

use std::io::Write;

use serde_json::{Map, Value};

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Say {
    pub(crate) json: bool,
}

impl Say {
    /// Something happened.
    pub(crate) fn event(self, event: &str, details: &[(&str, String)]) {
        let line = match self.json {
            true => {
                let mut all = Map::new();
                all.insert("event".to_owned(), Value::from(event));
                for (name, value) in details {
                    all.insert((*name).to_owned(), Value::from(value.as_str()));
                }
                Value::Object(all).to_string()
            }
            false => details
                .iter()
                .fold(event.to_owned(), |line, (name, value)| {
                    line + " " + name + "=" + value
                }),
        };
        // Nobody may listen any more; the device runs on.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}
