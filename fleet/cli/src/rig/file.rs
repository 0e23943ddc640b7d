//! The file that describes a rig.

use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;

use crate::failure::{Code, Failure};

/// A device whose power can be switched, and how its software is made and put on it.
///
/// Commands are lists of words, started without a shell; in each word these are filled in:
/// `{lightship}` this program, `{folder}` a folder for the run, `{config}` the configuration that `lightship config` wrote,
/// `{key}` the release key, `{version}` and `{out}` of what is to be made.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Rig {
    /// What people call it.
    pub(super) name: String,
    /// The device's type, as the fleet knows it.
    pub(super) device_type: String,
    /// This machine's address on which the server listens.
    #[serde(default = "loopback")]
    pub(super) listen: IpAddr,
    /// The address at which the device sees that; the same by default.
    pub(super) seen_as: Option<IpAddr>,
    /// What `lightship config` writes for the device.
    pub(super) config: Format,
    /// Longest time for one step, in seconds.
    #[serde(default = "patience")]
    pub(super) patience_s: u64,
    /// Makes what a release brings, in `{out}`.
    pub(super) make: Vec<String>,
    /// Makes the same so that it does not become healthy.
    pub(super) make_broken: Vec<String>,
    /// What `lightship push` is told of it; versions and keys are added.
    pub(super) push: Vec<String>,
    /// Puts `{config}`, and what was made in `{out}`, on a device without power.
    pub(super) install: Vec<String>,
    /// How its power is switched.
    pub(super) power: Power,
}

/// What a device is configured with.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Format {
    /// A block for the configuration partition of a microcontroller.
    Firmware,
    /// The file of the Linux daemon.
    Toml,
}

/// How power is switched.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged, deny_unknown_fields)]
pub(super) enum Power {
    /// The device is a process of this machine; SIGKILL cuts its power.
    Process {
        /// The process.
        run: Vec<String>,
    },
    /// Commands switch it.
    Switch {
        /// Returns when the power is on.
        on: Vec<String>,
        /// Returns when the power is off.
        off: Vec<String>,
        /// A process that prints what the device says, for as long as the rig is used.
        listen: Option<Vec<String>>,
    },
}

fn loopback() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}

fn patience() -> u64 {
    60
}

impl Rig {
    /// Reads a description.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or holds something unknown, malformed or missing.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
        Self::parse(&text).map_err(|error| {
            let message = format!("{}: {error}", path.display());
            Failure::new(Code::Usage, message).help("hil-tests/rigs has descriptions to begin with")
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let rig: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        for (name, words) in rig.commands() {
            if words.first().is_none_or(String::is_empty) {
                return Err(format!("`{name}` names no program"));
            }
        }
        if !rig.push.iter().any(|word| word.contains("{out}")) {
            return Err("`push` does not mention {out}, so nothing new would be pushed".to_owned());
        }
        Ok(rig)
    }

    fn commands(&self) -> Vec<(&'static str, &[String])> {
        let mut commands = vec![
            ("make", &self.make[..]),
            ("make_broken", &self.make_broken),
            ("install", &self.install),
        ];
        match &self.power {
            Power::Process { run } => commands.push(("power.run", run)),
            Power::Switch { on, off, listen } => {
                commands.extend([("power.on", &on[..]), ("power.off", off)]);
                commands.extend(listen.iter().map(|words| ("power.listen", &words[..])));
            }
        }
        commands
    }
}

/// What stands for the words in braces.
#[derive(Clone, Debug, Default)]
pub(super) struct Filling(Vec<(&'static str, String)>);

impl Filling {
    /// With one more.
    pub(super) fn with(&self, name: &'static str, value: impl Into<String>) -> Self {
        let mut all = self.0.clone();
        all.push((name, value.into()));
        Self(all)
    }

    /// The words of a command, filled in.
    pub(super) fn fill(&self, words: &[String]) -> Vec<String> {
        let one = |word: &String| {
            let put = |word: String, (name, value): &(&str, String)| {
                word.replace(&format!("{{{name}}}"), value)
            };
            self.0.iter().fold(word.clone(), put)
        };
        words.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = include_str!("../../../../hil-tests/rigs/host.toml");
    const BENCH: &str = include_str!("../../../../hil-tests/rigs/bench.toml");

    #[test]
    fn the_rigs_of_the_repository_are_understood() {
        let host = Rig::parse(HOST).unwrap();
        assert!(matches!(host.power, Power::Process { .. }));
        let bench = Rig::parse(BENCH).unwrap();
        assert!(matches!(
            bench.power,
            Power::Switch {
                listen: Some(_),
                ..
            }
        ));
        assert_eq!(bench.patience_s, 300);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |from: &str, to: &str| {
            assert!(HOST.contains(from), "{from}");
            Rig::parse(&HOST.replacen(from, to, 1)).unwrap_err()
        };
        let error = wrong("device_type", "devicetype");
        assert!(error.contains("devicetype"), "{error}");
        let error = wrong(
            "push = [\"--firmware\", \"{out}\"",
            "push = [\"--firmware\"",
        );
        assert!(error.contains("{out}"), "{error}");
        let error = wrong("config = \"firmware\"", "config = \"yaml\"");
        assert!(error.contains("yaml"), "{error}");
        let error = Rig::parse(&HOST.replacen("run = [", "run = []\n#", 1)).unwrap_err();
        assert!(error.contains("power.run"), "{error}");
    }

    #[test]
    fn words_in_braces_are_filled_in_and_others_stay() {
        let filling = Filling::default()
            .with("out", "a b")
            .with("version", "1.0.0");
        let words = ["x={out}/{version}", "{other}"].map(str::to_owned);
        assert_eq!(filling.fill(&words), ["x=a b/1.0.0", "{other}"]);
    }
}
