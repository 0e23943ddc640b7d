//! Fills a device's values into a spec: only what the publisher left open, and only with values of the
//! declared kind (design.md 3.1 and 3.3).
//!
//! The director signs settings with a key that is online, so whoever holds the server can write them.
//! The publisher's `settable` is the whole of what that can change.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::container::{ContainerSpec, Content, InlineFile, Kind, Settable, Settings};

/// The longest value of one variable: Linux allows 128 KiB for one string of `execve`.
pub const MAX_VALUE_BYTES: usize = 32 * 1024;

/// What the spec leaves open, filled in: nothing here refers to settings any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The environment beside the image's own.
    pub environment: BTreeMap<String, String>,
    /// The files to write into the container.
    pub files: Vec<ResolvedFile>,
}

/// A file to write into the container.
#[derive(Clone, PartialEq, Eq)]
pub struct ResolvedFile {
    /// Absolute path in the container.
    pub target: String,
    /// Its whole content.
    pub content: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

impl std::fmt::Debug for ResolvedFile {
    /// Leaves the content out: it may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResolvedFile")
            .field("target", &self.target)
            .field("bytes", &self.content.len())
            .finish_non_exhaustive()
    }
}

/// Why settings do not fit a spec. Values are left out of it: they may be secrets.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Rejection {
    /// The publisher does not let this variable be set from outside.
    #[error("variable {0} may not be set from outside: the release does not list it as settable")]
    NotSettable(String),
    /// The publisher demands a value and there is none.
    #[error("variable {0} needs a value: the release lists it as required")]
    Missing(String),
    /// The value is not of the declared kind.
    #[error("variable {name} must be {expected}")]
    WrongKind {
        /// The variable.
        name: String,
        /// What would be right.
        expected: String,
    },
    /// Longer than [`MAX_VALUE_BYTES`].
    #[error("variable {0} is longer than {MAX_VALUE_BYTES} bytes")]
    TooLong(String),
    /// A file takes its content from a variable that the spec does not list: the spec is at fault.
    #[error("file {target} takes variable {name}, which the release does not list as settable")]
    UnlistedFile {
        /// Path of the file.
        target: String,
        /// The variable.
        name: String,
    },
}

/// Fills `settings` into what `spec` leaves open.
pub fn apply(spec: &ContainerSpec, settings: &Settings) -> Result<Resolved, Rejection> {
    for (name, value) in &settings.environment {
        let settable = spec
            .settable
            .get(name)
            .ok_or_else(|| Rejection::NotSettable(name.clone()))?;
        check(name, value, settable)?;
    }
    for (name, settable) in &spec.settable {
        let known = settings.environment.contains_key(name) || spec.environment.contains_key(name);
        if settable.required && !known {
            return Err(Rejection::Missing(name.clone()));
        }
    }
    let files = spec
        .files
        .iter()
        .filter_map(|file| resolve(file, spec, settings).transpose())
        .collect::<Result<_, _>>()?;
    Ok(Resolved {
        environment: environment(spec, settings),
        files,
    })
}

fn environment(spec: &ContainerSpec, settings: &Settings) -> BTreeMap<String, String> {
    let taken = |name: &str| {
        let takes = |file: &InlineFile| matches!(&file.content, Content::Setting(n) if n == name);
        spec.files.iter().any(takes)
    };
    let mut environment = spec.environment.clone();
    environment.extend(settings.environment.clone());
    environment.retain(|name, _| !taken(name));
    environment
}

/// A file whose variable has no value and needs none is not written.
fn resolve(
    file: &InlineFile,
    spec: &ContainerSpec,
    settings: &Settings,
) -> Result<Option<ResolvedFile>, Rejection> {
    let content = match &file.content {
        Content::Text(text) => Some(text),
        Content::Setting(name) if spec.settable.contains_key(name) => settings
            .environment
            .get(name)
            .or_else(|| spec.environment.get(name)),
        Content::Setting(name) => {
            return Err(Rejection::UnlistedFile {
                target: file.target.clone(),
                name: name.clone(),
            });
        }
    };
    Ok(content.map(|content| ResolvedFile {
        target: file.target.clone(),
        content: content.clone(),
        uid: file.uid,
        gid: file.gid,
        mode: file.mode,
    }))
}

/// Checks one value against what the publisher declared of its variable.
pub fn check(name: &str, value: &str, settable: &Settable) -> Result<(), Rejection> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(Rejection::TooLong(name.to_owned()));
    }
    let fits = match &settable.kind {
        Kind::Text => !value.contains('\0'),
        Kind::Integer { min, max } => value
            .parse::<i64>()
            .is_ok_and(|number| (*min..=*max).contains(&number)),
        Kind::Boolean => matches!(value, "true" | "false"),
        Kind::OneOf(allowed) => allowed.contains(value),
    };
    if fits {
        return Ok(());
    }
    Err(Rejection::WrongKind {
        name: name.to_owned(),
        expected: settable.kind.to_string(),
    })
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text => f.write_str("text without NUL"),
            Self::Integer { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Boolean => f.write_str("\"true\" or \"false\""),
            Self::OneOf(allowed) => {
                f.write_str("one of")?;
                allowed.iter().try_for_each(|value| write!(f, " {value:?}"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
