//! What types do not say of an image's documents: each value that makes no sense is named with its place.
//!
//! Only what is fetched is held to it. An image that is in the store was good enough for whoever put it there,
//! and a daemon that was upgraded must not refuse what the device has committed.

use super::{Descriptor, Execution, Healthcheck, ImageConfig, Index, Manifest};
use crate::engine::Error;
use crate::engine::prepare::signal_number;

const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

const INDEXES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

const CONFIGURATIONS: [&str; 2] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// What the types of layers begin with; how they are compressed, their bytes say.
const LAYERS: [&str; 4] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];

/// The shortest time that Docker lets a health check take, in nanoseconds.
const MILLISECOND: u64 = 1_000_000;

impl Index {
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = in_document("index");
        schema(self.schema_version).map_err(&wrong)?;
        is_one_of("mediaType", self.media_type.as_deref(), &INDEXES).map_err(&wrong)?;
        match self.manifests[..] {
            [] => Err(wrong(
                "manifests: is empty; expected one for each platform".to_owned(),
            )),
            [_, ..] => Ok(()),
        }
    }
}

impl Manifest {
    /// Refuses values that make no sense.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = in_document("manifest");
        schema(self.schema_version).map_err(&wrong)?;
        is_one_of("mediaType", self.media_type.as_deref(), &MANIFESTS).map_err(&wrong)?;
        let media_type = typed(&self.config);
        is_one_of("config.mediaType", media_type, &CONFIGURATIONS).map_err(&wrong)?;
        if self.layers.is_empty() {
            return Err(wrong("layers: is empty; expected at least one".to_owned()));
        }
        for (at, layer) in self.layers.iter().enumerate() {
            let is_layer = |found: &str| {
                let rest = LAYERS.iter().find_map(|known| found.strip_prefix(known));
                rest.is_some_and(|rest| matches!(rest, "" | "+gzip" | "+zstd" | ".gzip" | ".zstd"))
            };
            if let Some(found) = typed(layer).filter(|found| !is_layer(found)) {
                let why = format!(
                    "layers[{at}].mediaType: is `{found}`; expected a layer such as {}+gzip",
                    LAYERS[0]
                );
                return Err(wrong(why));
            }
        }
        Ok(())
    }
}

/// Its media type, unless it has none.
fn typed(descriptor: &Descriptor) -> Option<&str> {
    Some(descriptor.media_type.as_str()).filter(|found| !found.is_empty())
}

impl ImageConfig {
    /// Refuses values that make no sense.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let wrong = in_document("configuration");
        is_one_of("rootfs.type", self.rootfs.kind.as_deref(), &["layers"]).map_err(&wrong)?;
        self.config
            .as_ref()
            .map_or(Ok(()), Execution::check)
            .map_err(|why| wrong(format!("config.{why}")))
    }
}

impl Execution {
    /// What is wrong, where.
    fn check(&self) -> Result<(), String> {
        if self
            .user
            .as_ref()
            .is_some_and(|user| user.contains(['\0', '\n', ' ']))
        {
            return Err(
                "User: holds a zero, a blank or an end of line; expected user[:group]".to_owned(),
            );
        }
        for (at, pair) in self.env.iter().flatten().enumerate() {
            if pair.contains('\0') || pair.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
                return Err(format!("Env[{at}]: is {pair:?}; expected NAME=value"));
            }
        }
        for (name, words) in [("Entrypoint", &self.entrypoint), ("Cmd", &self.cmd)] {
            if let Some(at) = words.iter().flatten().position(|word| word.contains('\0')) {
                return Err(format!("{name}[{at}]: holds a zero; expected text"));
            }
        }
        if let Some(path) = self
            .working_dir
            .as_ref()
            .filter(|path| !path.is_empty() && !is_path(path))
        {
            return Err(format!(
                "WorkingDir: is {path:?}; expected an absolute path"
            ));
        }
        if let Some(name) = self
            .stop_signal
            .as_ref()
            .filter(|name| signal_number(name).is_err())
        {
            return Err(format!(
                "StopSignal: is {name:?}; expected a signal, such as SIGTERM"
            ));
        }
        if let Some(path) = self
            .volumes
            .iter()
            .flatten()
            .map(|(path, _)| path)
            .find(|path| !is_path(path))
        {
            return Err(format!("Volumes: holds {path:?}; expected absolute paths"));
        }
        self.healthcheck.as_ref().map_or(Ok(()), Healthcheck::check)
    }
}

impl Healthcheck {
    fn check(&self) -> Result<(), String> {
        let words: Vec<&str> = self.test.iter().map(String::as_str).collect();
        if !matches!(words[..], [] | ["NONE"] | ["CMD", _, ..] | ["CMD-SHELL", _]) {
            let expected = r#"["NONE"], ["CMD", program, ...] or ["CMD-SHELL", line]"#;
            return Err(format!(
                "Healthcheck.Test: is {words:?}; expected {expected}"
            ));
        }
        let times = [
            ("Interval", self.interval),
            ("Timeout", self.timeout),
            ("StartPeriod", self.start_period),
            ("StartInterval", self.start_interval),
        ];
        match times
            .iter()
            .find(|(_, time)| (1..MILLISECOND).contains(time))
        {
            Some((name, time)) => Err(format!(
                "Healthcheck.{name}: is {time}; expected 0 or at least {MILLISECOND} nanoseconds"
            )),
            None => Ok(()),
        }
    }
}

fn in_document(what: &'static str) -> impl Fn(String) -> Error {
    move |why| Error::BadImage(format!("{what}: {why}"))
}

fn schema(found: Option<u64>) -> Result<(), String> {
    match found {
        None | Some(2) => Ok(()),
        Some(other) => Err(format!("schemaVersion: is {other}; expected 2")),
    }
}

fn is_one_of(field: &str, found: Option<&str>, expected: &[&str]) -> Result<(), String> {
    match found.filter(|found| !expected.contains(found)) {
        Some(found) => Err(format!(
            "{field}: is {found:?}; expected {}",
            expected.join(" or ")
        )),
        None => Ok(()),
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.contains('\0')
}

#[cfg(test)]
mod tests;
