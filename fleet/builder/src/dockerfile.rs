//! Dockerfiles, read whole before anything is built: every error with its line and column.
//!
//! What only a container engine can do (`RUN` above all) is understood and noted, not refused.

mod instruction;
mod lines;
mod options;
mod words;

use std::collections::BTreeSet;

use lightship_spec::problem::{Collector, Place, Problems};

pub use instruction::{Command, Copy, Health, Inline, Instruction};
pub(crate) use words::expand;

/// A longer Dockerfile is refused.
pub const MAX_BYTES: usize = 256 * 1024;

/// More instructions than this are refused.
pub const MAX_STEPS: usize = 1000;

/// A Dockerfile that has no errors of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    /// Variables before the first `FROM`, with their defaults.
    pub arguments: Vec<(String, Option<String>)>,
    /// Its stages; never empty.
    pub stages: Vec<Stage>,
    /// The character that escapes: a backslash, or a backtick by `# escape`.
    pub escape: char,
}

/// What begins with `FROM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Where `FROM` stands.
    pub place: Place,
    /// What is built upon, before variables are put in.
    pub base: String,
    /// `--platform`.
    pub platform: Option<String>,
    /// Its name, if it has one, in lower case.
    pub name: Option<String>,
    /// Its instructions in order.
    pub steps: Vec<Step>,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it stands.
    pub place: Place,
    /// What is to be done.
    pub instruction: Instruction,
    /// Its text on one line, for logs and the image's history.
    pub text: String,
}

/// Something that only a container engine can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineWork {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub what: String,
}

impl Dockerfile {
    /// Reads a Dockerfile.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn read(file: &str, text: &str) -> Result<Self, Problems> {
        let mut problems = Collector::new(file, text);
        let start = Place { line: 1, column: 1 };
        let mut read = Self {
            arguments: Vec::new(),
            stages: Vec::new(),
            escape: '\\',
        };
        if text.len() > MAX_BYTES {
            let what = format!("{} bytes; at most {MAX_BYTES} are read", text.len());
            problems.add(start, "", what, None);
            return problems.finish(read);
        }
        let lines = lines::split(text, &mut problems);
        read.escape = lines.escape;
        if lines.all.len() > MAX_STEPS {
            let what = format!("{} instructions; at most {MAX_STEPS}", lines.all.len());
            problems.add(start, "", what, None);
            return problems.finish(read);
        }
        for line in &lines.all {
            instruction::read(line, &mut read, &mut problems);
        }
        if read.stages.is_empty() && problems.is_empty() {
            let help = Some("begin with FROM".to_owned());
            problems.add(start, "", "no FROM", help);
        }
        problems.finish(read)
    }

    /// The stage to stop at: by name, by number, or the last.
    pub fn stage(&self, target: Option<&str>) -> Option<usize> {
        match target {
            None => self.stages.len().checked_sub(1),
            Some(target) => self.stage_before(target, self.stages.len()),
        }
    }

    /// The stage of this name or number among the first `end` ones.
    pub fn stage_before(&self, target: &str, end: usize) -> Option<usize> {
        let name = target.to_ascii_lowercase();
        let named = |stage: &Stage| stage.name.as_deref() == Some(name.as_str());
        let by_name = self.stages[..end].iter().rposition(named);
        by_name.or_else(|| target.parse().ok().filter(|number| *number < end))
    }

    /// The stages that `last` is made from, itself included, in order.
    pub fn needed(&self, last: usize) -> BTreeSet<usize> {
        let mut needed = BTreeSet::from([last]);
        for index in (0..=last).rev() {
            if !needed.contains(&index) {
                continue;
            }
            let stage = &self.stages[index];
            needed.extend(self.stage_before(&stage.base, index));
            for step in &stage.steps {
                if let Instruction::Copy(Copy {
                    from: Some(from), ..
                }) = &step.instruction
                {
                    needed.extend(self.stage_before(from, index));
                }
            }
        }
        needed
    }

    /// What stops a build without an engine on the way to stage `last`.
    pub fn engine_work(&self, last: usize) -> Vec<EngineWork> {
        let needed = self.needed(last);
        let steps = needed.iter().flat_map(|stage| &self.stages[*stage].steps);
        let work = |step: &Step| {
            let what = match &step.instruction {
                Instruction::Run => "RUN",
                Instruction::Copy(copy) => copy.engine_only.as_deref()?,
                _ => return None,
            };
            Some(EngineWork {
                place: step.place,
                what: what.to_owned(),
            })
        };
        steps.filter_map(work).collect()
    }
}

#[cfg(test)]
mod tests;
