//! `volumes` and `tmpfs`.

use super::field::{Field, Fields};
use super::process::{absolute, is_absolute};
use super::project::{Shared, is_volume_name};
use super::quantity::{BYTES, MODE, bytes, mode};
use crate::container::{ContainerSpec, Mount};
use crate::problem::Collector;

/// Where it is mounted.
pub(crate) fn target(mount: &Mount) -> &str {
    match mount {
        Mount::Volume { target, .. } | Mount::Bind { target, .. } | Mount::Tmpfs { target, .. } => {
            target
        }
    }
}

pub(crate) fn read(
    fields: &mut Fields<'_>,
    shared: &Shared,
    spec: &mut ContainerSpec,
    problems: &mut Collector<'_>,
) {
    let mut found = Vec::new();
    if let Some(field) = fields.take("volumes") {
        for item in field.items(problems) {
            let mount = if item.is_mapping() {
                long(&item, shared, problems)
            } else {
                short(&item, shared, problems)
            };
            found.extend(mount.map(|mount| (item, mount)));
        }
    }
    if let Some(field) = fields.take("tmpfs") {
        for item in field.one_or_more(problems) {
            let expected = "a path such as /tmp or /tmp:size=64m,mode=1777";
            let mount = item.parsed(problems, expected, tmpfs);
            found.extend(mount.map(|mount| (item, mount)));
        }
    }
    for (item, mount) in found {
        if spec
            .mounts
            .iter()
            .any(|other| target(other) == target(&mount))
        {
            item.wrong(problems, format!("{} is mounted twice", target(&mount)), "");
        }
        spec.mounts.push(mount);
    }
}

/// `source:target[:options]`.
fn short(item: &Field<'_>, shared: &Shared, problems: &mut Collector<'_>) -> Option<Mount> {
    let text = item.text(problems)?;
    let mut parts = text.split(':');
    let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
        let help = "write name:/path for a named volume, or use tmpfs";
        item.wrong(
            problems,
            "a volume without a name is lost with its container",
            help,
        );
        return None;
    };
    let options = parts.next();
    if parts.next().is_some() || !is_absolute(target) {
        item.wrong(
            problems,
            format!("expected name:/path or /path:/path, found {text:?}"),
            "",
        );
        return None;
    }
    let mut read_only = false;
    let mut follow = false;
    for option in options.into_iter().flat_map(|options| options.split(',')) {
        match option {
            "ro" => read_only = true,
            "rslave" | "slave" => follow = true,
            // `z` and `Z` are labels of SELinux, which a device does not have.
            "rw" | "z" | "Z" | "rprivate" | "private" => {}
            other => item.wrong(
                problems,
                format!("unknown option {other:?}"),
                "known: ro, rw, rslave, z, Z",
            ),
        }
    }
    let target = target.to_owned();
    if source.starts_with(['/', '.', '~']) {
        let source = host_path(item, source, problems)?;
        return Some(Mount::Bind {
            source,
            target,
            read_only,
            follow,
        });
    }
    let name = volume(item, source, shared, problems)?;
    Some(Mount::Volume {
        name,
        target,
        read_only,
    })
}

fn host_path(item: &Field<'_>, source: &str, problems: &mut Collector<'_>) -> Option<String> {
    if is_absolute(source) {
        return Some(source.to_owned());
    }
    let help = "copy it into the image, or name an absolute path of the device";
    item.wrong(
        problems,
        format!("{source:?} lies on the machine that pushes"),
        help,
    );
    None
}

fn volume(
    item: &Field<'_>,
    name: &str,
    shared: &Shared,
    problems: &mut Collector<'_>,
) -> Option<String> {
    if let Some(known) = shared.volumes.get(name) {
        return Some(known.clone());
    }
    let what = format!("there is no volume {name:?}");
    let help = if is_volume_name(name) {
        "name it under the top-level volumes"
    } else {
        "a volume has a name, a path of the device starts with /"
    };
    item.wrong(problems, what, help);
    None
}

fn long(item: &Field<'_>, shared: &Shared, problems: &mut Collector<'_>) -> Option<Mount> {
    let mut fields = item.fields(problems)?;
    let kind = fields.demand("type", problems);
    let target = fields.demand("target", problems);
    let source = fields.take("source");
    let read_only = fields.take("read_only").and_then(|f| f.boolean(problems)) == Some(true);
    let follow = fields
        .take("bind")
        .map(|f| propagation(&f, problems))
        .unwrap_or_default();
    if let Some(options) = fields.take("volume").and_then(|f| f.fields(problems)) {
        let why = "remove it; a new volume starts with what the image has there";
        options.finish(
            &[("nocopy", why), ("subpath", "mount the whole volume")],
            problems,
        );
    }
    let (size_bytes, bits) = fields
        .take("tmpfs")
        .map(|f| tmpfs_options(&f, problems))
        .unwrap_or_default();
    fields.finish(
        &[("consistency", "remove it"), ("image", "remove it")],
        problems,
    );
    let target = absolute(&target?, problems)?;
    let kind = kind?;
    let needed = |problems: &mut Collector<'_>| {
        if source.is_none() {
            item.wrong(problems, "source is missing", "");
        }
        source.as_ref().and_then(|f| Some((f, f.text(problems)?)))
    };
    match kind.text(problems)? {
        "volume" => {
            let (field, source) = needed(problems)?;
            let name = volume(field, source, shared, problems)?;
            Some(Mount::Volume {
                name,
                target,
                read_only,
            })
        }
        "bind" => {
            let (field, source) = needed(problems)?;
            let source = host_path(field, source, problems)?;
            Some(Mount::Bind {
                source,
                target,
                read_only,
                follow,
            })
        }
        "tmpfs" => Some(Mount::Tmpfs {
            target,
            size_bytes,
            mode: bits,
        }),
        other => {
            kind.wrong(
                problems,
                format!("expected volume, bind or tmpfs, found {other:?}"),
                "",
            );
            None
        }
    }
}

/// Whether later mounts of the host appear in the container.
fn propagation(field: &Field<'_>, problems: &mut Collector<'_>) -> bool {
    let Some(mut fields) = field.fields(problems) else {
        return false;
    };
    let expected = "rprivate or rslave";
    let follow = fields.take("propagation").and_then(|f| {
        f.parsed(problems, expected, |t| match t {
            "private" | "rprivate" => Some(false),
            "slave" | "rslave" => Some(true),
            _ => None,
        })
    });
    if let Some(create) = fields.take("create_host_path")
        && create.boolean(problems) == Some(true)
    {
        create.wrong(
            problems,
            "not supported",
            "make the path when the device is set up",
        );
    }
    if let Some(field) = fields.take("selinux") {
        // No device here labels its files.
        field.parsed(problems, "z or Z", |t| matches!(t, "z" | "Z").then_some(()));
    }
    fields.finish(&[("recursive", "remove it")], problems);
    follow.unwrap_or(false)
}

fn tmpfs_options(field: &Field<'_>, problems: &mut Collector<'_>) -> (Option<u64>, Option<u32>) {
    let Some(mut fields) = field.fields(problems) else {
        return (None, None);
    };
    let size = fields
        .take("size")
        .and_then(|f| f.parsed(problems, BYTES, bytes));
    let bits = fields
        .take("mode")
        .and_then(|f| f.parsed(problems, MODE, mode));
    fields.finish(&[], problems);
    (size, bits)
}

/// `/path[:size=64m,mode=1777]`.
fn tmpfs(text: &str) -> Option<Mount> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    let mut size_bytes = None;
    let mut bits = None;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", size)) => size_bytes = Some(bytes(size)?),
            Some(("mode", octal)) => {
                bits = Some(
                    u32::from_str_radix(octal, 8)
                        .ok()
                        .filter(|bits| *bits <= 0o7777)?,
                );
            }
            // What the engine does anyway.
            None if matches!(option, "rw" | "nosuid" | "nodev" | "noexec") => {}
            Some(_) | None => return None,
        }
    }
    is_absolute(path).then(|| Mount::Tmpfs {
        target: path.to_owned(),
        size_bytes,
        mode: bits,
    })
}
