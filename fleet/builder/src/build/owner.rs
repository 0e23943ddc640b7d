//! `--chown`: numbers, or names of the image's own `/etc/passwd` and `/etc/group`.

use std::io::Read;

use super::stage::Building;
use crate::error::{At, BuildError};
use crate::guard::Guard;
use crate::layout::Layout;
use crate::tree::{Kind, for_each};

/// A longer user database is not read.
const MAX_BYTES: u64 = 1 << 20;

/// The user and group of `user[:group]`; a user without a group takes the group of the same number, as in Docker.
/// `Ok(None)` when the image does not know the name.
pub(super) fn ids(
    text: &str,
    stage: &Building,
    layout: &Layout,
    guard: &Guard,
) -> Result<Option<(u64, u64)>, BuildError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let uid = id(user, "etc/passwd", stage, layout, guard)?;
    let gid = match group {
        Some(group) => id(group, "etc/group", stage, layout, guard)?,
        None => uid,
    };
    Ok(uid.zip(gid))
}

fn id(
    name: &str,
    file: &str,
    stage: &Building,
    layout: &Layout,
    guard: &Guard,
) -> Result<Option<u64>, BuildError> {
    if let Ok(number) = name.parse::<u32>() {
        return Ok(Some(u64::from(number)));
    }
    let text = read(file, stage, layout, guard)?;
    let named = |line: &&str| line.split(':').next() == Some(name);
    let line = text.lines().find(named);
    Ok(line.and_then(|line| line.split(':').nth(2)?.parse().ok()))
}

fn read(
    file: &str,
    stage: &Building,
    layout: &Layout,
    guard: &Guard,
) -> Result<String, BuildError> {
    let path = stage.tree.resolve(file);
    let Some(Kind::File { layer, path }) = stage.tree.entry(&path).map(|entry| &entry.kind) else {
        return Ok(String::new());
    };
    let mut text = Vec::new();
    for_each(layout, &stage.layers[*layer], guard, |at, _, _, content| {
        if at == path {
            text.clear();
            content
                .take(MAX_BYTES)
                .read_to_end(&mut text)
                .at(at.as_ref())?;
        }
        Ok(())
    })?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
