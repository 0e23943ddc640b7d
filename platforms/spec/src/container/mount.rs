//! What is mounted and written into a container.

use serde::{Deserialize, Serialize};

use super::is_false;

/// Something mounted into the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Mount {
    /// A named volume of the application; kept across updates.
    /// A new one starts with what the image has at `target`.
    Volume {
        /// Name within the application.
        name: String,
        /// Absolute path in the container.
        target: String,
        /// Not writable.
        #[serde(default, skip_serializing_if = "is_false")]
        read_only: bool,
    },
    /// A path of the host; the device's configuration lists the allowed ones.
    Bind {
        /// Absolute path on the host; it must exist.
        source: String,
        /// Absolute path in the container.
        target: String,
        /// Not writable.
        #[serde(default, skip_serializing_if = "is_false")]
        read_only: bool,
        /// Mounts made later on the host appear in the container.
        #[serde(default, skip_serializing_if = "is_false")]
        follow: bool,
    },
    /// Memory.
    Tmpfs {
        /// Absolute path in the container.
        target: String,
        /// Size in bytes; absent means half of the memory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_bytes: Option<u64>,
        /// Permission bits; absent means `0o1777`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
    },
}

/// A file that the engine writes into the container, on memory, read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InlineFile {
    /// Absolute path in the container.
    pub target: String,
    /// Where its content comes from.
    pub content: Content,
    /// Owner.
    #[serde(default)]
    pub uid: u32,
    /// Group.
    #[serde(default)]
    pub gid: u32,
    /// Permission bits.
    #[serde(default = "default_file_mode")]
    pub mode: u32,
}

/// Where an inline file's content comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Content {
    /// This text, part of what the publisher signs.
    Text(String),
    /// The device's value for this variable, which must be in `settable`.
    /// A variable that a file takes goes to that file alone and is not in the environment.
    Setting(String),
}

fn default_file_mode() -> u32 {
    0o444
}
