//! What both halves say alike: headers, entity tags, refusals. The table is in lightship-link's page.

use core::fmt::Write;

use heapless::String;
use lightship_core::wire::{Refused, json};
use lightship_link::limits::RETRY_AFTER_S;
use lightship_link::{Credentials, Known};
use serde::Deserialize;

use crate::limits::{PROBLEM_BYTES, TAG_BYTES};
use crate::shown;
pub(crate) use crate::shown::failure;

mod date;

/// `Bearer <uuid>.<hex of the key>`.
pub(crate) type Bearer = String<112>;
/// Every tag that a device lists.
pub(crate) type Tags = String<{ 3 * (TAG_BYTES + 2) }>;
/// `root=<version>&command=<id>`.
pub(crate) type Query = String<QUERY_BYTES>;
/// Longest [`Query`].
pub(crate) const QUERY_BYTES: usize = 48;

/// What a registered device shows; a provisioning key is shown in the registration itself.
pub(crate) fn bearer(credentials: &Credentials) -> Option<Bearer> {
    let bytes = shown::bearer(credentials)?;
    let text = core::str::from_utf8(&bytes).ok()?;
    Bearer::try_from(text).ok()
}

/// An entity tag of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Target(u64),
    Root(u32),
    Command(u64),
    Tunnel(u32),
}

impl Tag {
    /// Reads `"<counter>"`, `"root-<version>"`, `"command-<id>"` or `"tunnel-<number>"`; a proxy may have made it weak.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix("W/").unwrap_or(text);
        let text = text.strip_prefix('"')?.strip_suffix('"')?;
        if let Some(version) = text.strip_prefix("root-") {
            return version.parse().ok().map(Self::Root);
        }
        if let Some(id) = text.strip_prefix("command-") {
            return id.parse().ok().map(Self::Command);
        }
        if let Some(number) = text.strip_prefix("tunnel-") {
            return number.parse().ok().map(Self::Tunnel);
        }
        text.parse().ok().map(Self::Target)
    }
}

/// What a device has had on this connection, so that no answer comes twice.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    known: Known,
    root: Option<u32>,
    tunnel: Option<u32>,
}

impl Seen {
    pub(crate) fn new(known: Known) -> Self {
        Self {
            known,
            root: None,
            tunnel: None,
        }
    }

    /// Notes an answer. False when it was not asked for: the device has it already.
    pub(crate) fn note(&mut self, tag: Tag) -> bool {
        match tag {
            Tag::Target(counter) => {
                let is_new = counter != self.known.counter;
                self.known.counter = counter;
                is_new
            }
            Tag::Root(version) => {
                let is_new = self.root != Some(version);
                self.root = Some(version);
                is_new
            }
            Tag::Tunnel(number) => {
                let is_new = self.tunnel != Some(number);
                self.tunnel = Some(number);
                is_new
            }
            Tag::Command(id) => {
                let is_new = id > self.known.command;
                self.known.command = self.known.command.max(id);
                is_new
            }
        }
    }

    /// Takes note of the root that a report names as trusted.
    pub(crate) fn trusts(&mut self, root: u32) {
        self.known.root = root;
    }

    /// The value of `If-None-Match`; empty when there is nothing to name.
    pub(crate) fn tags(&self) -> Tags {
        let mut tags = Tags::new();
        if self.known.counter != 0 {
            write!(tags, "\"{}\"", self.known.counter).expect("a tag fits");
        }
        if let Some(version) = self.root {
            let comma = if tags.is_empty() { "" } else { ", " };
            write!(tags, "{comma}\"root-{version}\"").expect("a tag fits");
        }
        if let Some(number) = self.tunnel {
            let comma = if tags.is_empty() { "" } else { ", " };
            write!(tags, "{comma}\"tunnel-{number}\"").expect("a tag fits");
        }
        tags
    }

    pub(crate) fn query(&self) -> Query {
        let mut query = Query::new();
        let Known { root, command, .. } = self.known;
        write!(query, "root={root}&command={command}").expect("10 and 20 digits fit");
        query
    }
}

/// The first byte that `Content-Range: bytes 5-9/10` speaks of.
pub(crate) fn range_start(value: &str) -> Option<u64> {
    let range = value.trim().strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}

/// `Retry-After` in seconds: as it is, or as a date counted from the server's own `Date`, because a device need not know what time it is.
pub(crate) fn retry_after(value: Option<&str>, date: Option<&str>) -> Option<u32> {
    let value = value?.trim();
    if value.bytes().all(|c| c.is_ascii_digit()) && !value.is_empty() {
        return Some(value.parse().unwrap_or(RETRY_AFTER_S).min(RETRY_AFTER_S));
    }
    let then = date::parse(value)?;
    let now = date::parse(date?.trim())?;
    let seconds = then.saturating_sub(now).min(u64::from(RETRY_AFTER_S));
    u32::try_from(seconds).ok()
}

/// The member `refused` of problem details.
pub(crate) fn refused(body: &[u8]) -> Option<Refused> {
    #[derive(Deserialize)]
    struct Problem {
        refused: Refused,
    }
    if body.len() > PROBLEM_BYTES || json::is_too_deep(body) {
        return None;
    }
    let problem = serde_json_core::from_slice::<Problem>(body);
    problem.ok().map(|(problem, _)| problem.refused)
}

#[cfg(test)]
mod tests;
