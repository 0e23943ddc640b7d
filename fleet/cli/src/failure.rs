//! What went wrong, what to do next, and the exit code that tells a script.

use std::fmt;
use std::process::ExitCode;

use lightship_api::Problem;
use serde::Serialize;

/// Shown below the help; the same table is in the README.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed for a reason of its own
  2  the command line is wrong
  3  not logged in, or not allowed to
  4  not there
  5  refused by the server: something in the request, or in the state of things, is wrong
  6  the server cannot be reached
  7  a roll-out that was followed was halted, aborted, or had failures
  8  a key, a signature or a signed document is wrong";

/// Which kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Code {
    Failed = 1,
    Usage = 2,
    Denied = 3,
    Missing = 4,
    Refused = 5,
    Unreachable = 6,
    RolloutFailed = 7,
    Signature = 8,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// What went wrong.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<String>,
    /// What the server said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<Box<Problem>>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            help: None,
            problem: None,
        }
    }

    /// With what to do next.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// A file that could not be read or written.
    pub(crate) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(Code::Failed, format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n help: {help}"),
            None => Ok(()),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let code = match problem.status {
            401 | 403 => Code::Denied,
            404 => Code::Missing,
            400..=499 => Code::Refused,
            _ => Code::Failed,
        };
        let detail = problem
            .detail
            .clone()
            .unwrap_or_else(|| problem.title.clone());
        let message = match &problem.field {
            Some(field) => format!("{field}: {detail}"),
            None => detail,
        };
        let failure = Self {
            problem: Some(Box::new(problem)),
            ..Self::new(code, message)
        };
        match code {
            Code::Denied if failure.problem.as_ref().is_some_and(|p| p.status == 401) => {
                failure.help("log in again with `lightship login`, or pass a valid --token")
            }
            Code::Denied => failure.help("ask an owner of the fleet for a role that allows it"),
            Code::Missing => failure
                .help("check the name, and --fleet; what you may not see does not exist for you"),
            Code::Failed
            | Code::Usage
            | Code::Refused
            | Code::Unreachable
            | Code::RolloutFailed
            | Code::Signature => failure,
        }
    }
}
