//! One logical line to one instruction.

use lightship_spec::problem::{Collector, nearest};

use super::lines::Line;
use super::options;
use super::words::{expand, split};
use super::{Dockerfile, Stage, Step};

/// What is to be done. Variables are not put in yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Declares variables of the build.
    Arg(Vec<(String, Option<String>)>),
    /// Sets variables of the image.
    Env(Vec<(String, String)>),
    /// Sets labels of the image.
    Label(Vec<(String, String)>),
    /// `COPY`, and `ADD` of local files.
    Copy(Copy),
    /// The folder that later instructions and the container start in.
    Workdir(String),
    /// Who the container runs as.
    User(String),
    /// Ports that the image serves.
    Expose(Vec<String>),
    /// Folders that the image keeps its data in.
    Volume(Vec<String>),
    /// What runs, or the arguments of the entrypoint.
    Cmd(Command),
    /// What runs.
    Entrypoint(Command),
    /// The shell of commands that are one line.
    Shell(Vec<String>),
    /// The signal that ends the container.
    StopSignal(String),
    /// How health is tested; `None` switches it off.
    Healthcheck(Option<Health>),
    /// What is done when another image is built upon this one.
    Onbuild(String),
    /// Who made the image.
    Maintainer(String),
    /// A command to run in the image: only an engine can.
    Run,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Words.
    Exec(Vec<String>),
    /// A line for the shell.
    Shell(String),
}

/// `HEALTHCHECK`. Times in nanoseconds, as images have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is tried.
    pub test: Command,
    /// From one test to the next.
    pub interval: Option<u64>,
    /// How long a test may take.
    pub timeout: Option<u64>,
    /// How long failures do not count.
    pub start_period: Option<u64>,
    /// The interval meanwhile.
    pub start_interval: Option<u64>,
    /// So many failures make it unhealthy.
    pub retries: Option<u32>,
}

/// `COPY` and `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// A stage or image to copy from, instead of the context.
    pub from: Option<String>,
    /// The owner: `user[:group]`.
    pub chown: Option<String>,
    /// Permission bits.
    pub chmod: Option<u32>,
    /// Paths and patterns.
    pub sources: Vec<String>,
    /// Files whose text stands in the Dockerfile.
    pub inline: Vec<Inline>,
    /// Where to.
    pub target: String,
    /// Whether archives among the sources are unpacked (`ADD`).
    pub unpack: bool,
    /// Why only an engine can do this.
    pub engine_only: Option<String>,
}

/// A file whose text stands in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inline {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Whether variables are put in.
    pub expand: bool,
}

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

mod copy;
mod health;

/// Reads with the place of every error.
struct Reader<'l, 'c, 'p> {
    line: &'l Line,
    problems: &'c mut Collector<'p>,
}

pub(super) fn read(line: &Line, into: &mut Dockerfile, problems: &mut Collector<'_>) {
    let (keyword, at) = line.keyword();
    let upper = keyword.to_ascii_uppercase();
    let mut reader = Reader { line, problems };
    if !KEYWORDS.contains(&upper.as_str()) {
        let meant = nearest(&upper, KEYWORDS);
        let help = meant.map(|meant| format!("did you mean {meant}?"));
        let shown: String = keyword.chars().take(40).collect();
        let what = format!("unknown instruction {shown:?}");
        reader.problems.add(line.place(0), "", what, help);
        return;
    }
    if at == line.text.len() {
        reader.wrong(0, "has no arguments", "");
        return;
    }
    if upper == "FROM" {
        into.stages.extend(reader.from(at, &into.stages));
        return;
    }
    let Some(instruction) = reader.instruction(&upper, at) else {
        return;
    };
    let step = Step {
        place: line.place(0),
        instruction,
        text: line.text.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    match (into.stages.last_mut(), step.instruction) {
        (None, Instruction::Arg(arguments)) => into.arguments.extend(arguments),
        (None, _) => reader.wrong(0, "stands before FROM", "only ARG may"),
        (Some(stage), instruction) => stage.steps.push(Step {
            instruction,
            ..step
        }),
    }
}

impl<'l> Reader<'l, '_, '_> {
    fn wrong(&mut self, offset: usize, what: impl Into<String>, help: &str) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        let (keyword, _) = self.line.keyword();
        self.problems.add(
            self.line.place(offset),
            &keyword.to_ascii_uppercase(),
            what,
            help,
        );
    }

    fn instruction(&mut self, upper: &str, at: usize) -> Option<Instruction> {
        let text = self.line.text[at..].to_owned();
        Some(match upper {
            "ARG" => Instruction::Arg(self.arguments(at)?),
            "ENV" => Instruction::Env(self.pairs(at)?),
            "LABEL" => Instruction::Label(self.pairs(at)?),
            "COPY" | "ADD" => Instruction::Copy(self.copy(at, upper == "ADD")?),
            "WORKDIR" => Instruction::Workdir(self.one(at)?),
            "USER" => Instruction::User(self.one(at)?),
            "STOPSIGNAL" => Instruction::StopSignal(self.one(at)?),
            "EXPOSE" => Instruction::Expose(self.ports(at)?),
            "VOLUME" => Instruction::Volume(self.list(at)?),
            "CMD" => Instruction::Cmd(self.command(at)?),
            "ENTRYPOINT" => Instruction::Entrypoint(self.command(at)?),
            "SHELL" => match self.command(at)? {
                Command::Exec(words) if !words.is_empty() => Instruction::Shell(words),
                Command::Exec(_) | Command::Shell(_) => {
                    self.wrong(
                        at,
                        "is not a list",
                        r#"write SHELL ["program", "argument"]"#,
                    );
                    return None;
                }
            },
            "HEALTHCHECK" => Instruction::Healthcheck(self.health(at)?),
            "ONBUILD" => Instruction::Onbuild(text),
            "MAINTAINER" => Instruction::Maintainer(text),
            _ => Instruction::Run,
        })
    }

    fn from(&mut self, at: usize, earlier: &[Stage]) -> Option<Stage> {
        let (given, at) = options::take(self.line, at);
        let mut platform = None;
        for option in given {
            match (option.name, option.value) {
                ("platform", Some(value)) => platform = Some(value.to_owned()),
                _ => options::unknown(self.line, &option, &["platform"], self.problems),
            }
        }
        let words: Vec<&str> = self.line.text[at..].split_whitespace().collect();
        let (base, name) = match words[..] {
            [base] => (base, None),
            [base, word, name] if word.eq_ignore_ascii_case("AS") => (base, Some(name)),
            _ => {
                self.wrong(at, "expected an image, or an image AS name", "");
                return None;
            }
        };
        self.expandable(at, base);
        let name = name.map(str::to_ascii_lowercase);
        if let Some(name) = &name {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(allowed) {
                let what = format!("{name:?} is not a name for a stage");
                self.wrong(
                    at,
                    what,
                    "use letters, digits, - _ and ., starting with a letter",
                );
            }
            if earlier
                .iter()
                .any(|stage| stage.name.as_ref() == Some(name))
            {
                self.wrong(at, format!("there are two stages {name:?}"), "");
            }
        }
        Some(Stage {
            place: self.line.place(0),
            base: base.to_owned(),
            platform,
            name,
            steps: Vec::new(),
        })
    }

    fn words(&mut self, at: usize) -> Option<Vec<(usize, &'l str)>> {
        match split(&self.line.text[at..], self.line.escape) {
            Ok(words) => {
                let words: Vec<_> = words.into_iter().map(|(o, word)| (at + o, word)).collect();
                words
                    .iter()
                    .for_each(|(offset, word)| self.expandable(*offset, word));
                Some(words)
            }
            Err((offset, what)) => {
                self.wrong(at + offset, what, "");
                None
            }
        }
    }

    /// Finds errors of variables now, whatever their values will be.
    fn expandable(&mut self, offset: usize, word: &str) {
        if let Err(what) = expand(word, self.line.escape, &|_: &str| None) {
            self.wrong(offset, what, "");
        }
    }

    fn one(&mut self, at: usize) -> Option<String> {
        let text = &self.line.text[at..];
        self.expandable(at, text);
        Some(text.to_owned())
    }

    fn arguments(&mut self, at: usize) -> Option<Vec<(String, Option<String>)>> {
        let words = self.words(at)?;
        let mut arguments = Vec::new();
        for (offset, word) in words {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (word, None),
            };
            if self.is_name(offset, name) {
                arguments.push((name.to_owned(), value));
            }
        }
        Some(arguments)
    }

    fn is_name(&mut self, offset: usize, name: &str) -> bool {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let fits = !name.is_empty() && name.chars().all(allowed);
        if !fits {
            let what = format!("{name:?} is not a name for a variable");
            self.wrong(offset, what, "use letters, digits and _");
        }
        fits
    }

    /// `name=value ...`, or the old form `name value`.
    fn pairs(&mut self, at: usize) -> Option<Vec<(String, String)>> {
        let words = self.words(at)?;
        let (_, first) = words[0];
        if !first.contains('=') {
            let rest = self.line.text[at + first.len()..].trim_start();
            if rest.is_empty() {
                self.wrong(at, format!("{first:?} has no value"), "write name=value");
                return None;
            }
            return Some(vec![(first.to_owned(), rest.to_owned())]);
        }
        let mut pairs = Vec::new();
        for (offset, word) in words {
            match word.split_once('=') {
                Some(("", _)) | None => {
                    let what = format!("expected name=value, found {word:?}");
                    self.wrong(offset, what, "put a value with blanks into quotes");
                }
                Some((name, value)) => pairs.push((name.to_owned(), value.to_owned())),
            }
        }
        Some(pairs)
    }

    fn ports(&mut self, at: usize) -> Option<Vec<String>> {
        let mut ports = Vec::new();
        for (offset, word) in self.words(at)? {
            let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
            let protocol = ["tcp", "udp", "sctp"].contains(&protocol.to_ascii_lowercase().as_str());
            let fits = port(first) && port(last) && protocol;
            if !fits && !word.contains('$') {
                let what = format!("expected a port such as 80 or 53/udp, found {word:?}");
                self.wrong(offset, what, "");
            }
            ports.push(word.to_owned());
        }
        Some(ports)
    }

    /// `["a", "b"]` or words.
    fn list(&mut self, at: usize) -> Option<Vec<String>> {
        match json(&self.line.text[at..]) {
            Some(words) => Some(words),
            None => Some(
                self.words(at)?
                    .into_iter()
                    .map(|(_, word)| word.to_owned())
                    .collect(),
            ),
        }
    }

    /// As in Docker, what is no list of texts is a line for the shell; here that is said when it was meant.
    fn command(&mut self, at: usize) -> Option<Command> {
        let text = &self.line.text[at..];
        if let Some(words) = json(text) {
            return Some(Command::Exec(words));
        }
        let list_like = text.starts_with('[') && text.ends_with(']') && text.contains(['"', '\'']);
        if list_like {
            let help = r#"write ["program", "argument"] with double quotes"#;
            self.wrong(at, "is not a list of texts", help);
            return None;
        }
        Some(Command::Shell(text.to_owned()))
    }
}

fn json(text: &str) -> Option<Vec<String>> {
    if !text.starts_with('[') {
        return None;
    }
    serde_json::from_str(text).ok()
}
