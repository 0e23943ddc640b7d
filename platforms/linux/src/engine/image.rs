//! What an OCI or Docker image says about itself, read with bounds.
//!
//! OCI image specification 1.1 and Docker's "image manifest version 2, schema 2"; fields that mean
//! nothing to an engine are skipped, because both formats allow any.

mod check;
mod platform;
mod reference;

pub use platform::Platform;
pub use reference::{Reference, ReferenceError};

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Error;
use crate::store::Digest;

/// An image of more layers than overlayfs can stack comfortably is refused.
pub const MAX_LAYERS: usize = 128;

/// An index of more manifests than this is refused.
const MAX_MANIFESTS: usize = 256;

/// The `Accept` header for manifests.
pub const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A reference to a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// What it runs on; only in an index.
    pub platform: Option<Platform>,
    /// Free-form.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// The image for one platform.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The version of the format.
    pub schema_version: Option<u64>,
    /// What this document is.
    pub media_type: Option<String>,
    /// How it is run.
    pub config: Descriptor,
    /// What its root is made of, lowest first.
    pub layers: Vec<Descriptor>,
}

/// The same image for several platforms.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Vec<Descriptor>,
}

/// A manifest or an index.
#[derive(Clone, Debug)]
pub enum Artifact {
    /// For one platform.
    Manifest(Manifest),
    /// The manifest to take from an index.
    Index(Descriptor),
}

/// What the image's configuration says.
#[derive(Clone, Debug)]
pub struct ImageConfig {
    /// What it runs on.
    pub platform: Platform,
    /// How it is run.
    pub config: Option<Execution>,
    /// Digests of the layers' tar streams.
    pub rootfs: RootFs,
}

/// The same as it is written, so that a mistake is found where it is.
#[derive(Deserialize)]
struct Written {
    os: String,
    architecture: String,
    variant: Option<String>,
    config: Option<Execution>,
    rootfs: RootFs,
}

/// Digests of the layers' tar streams.
#[derive(Clone, Debug, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Lowest first.
    pub diff_ids: Vec<Digest>,
}

/// How an image is run when the spec does not say otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Execution {
    /// `user[:group]`.
    pub user: Option<String>,
    /// `NAME=value`.
    pub env: Option<Vec<String>>,
    /// The program.
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments, or the program.
    pub cmd: Option<Vec<String>>,
    /// Where it starts.
    pub working_dir: Option<String>,
    /// What stops it.
    pub stop_signal: Option<String>,
    /// Paths that hold data.
    pub volumes: Option<BTreeMap<String, serde::de::IgnoredAny>>,
    /// Docker's health check.
    pub healthcheck: Option<Healthcheck>,
}

/// Docker's health check: times in nanoseconds, 0 is the default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", ...]` or `["CMD-SHELL", line]`.
    pub test: Vec<String>,
    /// Between tests.
    pub interval: u64,
    /// Of one test.
    pub timeout: u64,
    /// Failures do not count.
    pub start_period: u64,
    /// Between tests in the start period.
    pub start_interval: u64,
    /// Failures in a row.
    pub retries: u32,
}

impl Artifact {
    /// Reads a manifest or an index; of an index, picks what this device runs best.
    pub fn decode(bytes: &[u8], device: &Platform) -> Result<Self, Error> {
        let value: serde_json::Value = parse(bytes, "manifest")?;
        if value.get("manifests").is_some() {
            let index: Index = parse(bytes, "index")?;
            return pick(index, device).map(Self::Index);
        }
        let manifest: Manifest = parse(bytes, "manifest")?;
        if manifest.layers.len() > MAX_LAYERS {
            let count = manifest.layers.len();
            return Err(Error::BadImage(format!(
                "{count} layers; at most {MAX_LAYERS} are allowed"
            )));
        }
        Ok(Self::Manifest(manifest))
    }
}

impl ImageConfig {
    /// Reads a configuration, and refuses one for another platform or another number of layers.
    pub fn decode(bytes: &[u8], device: &Platform, layers: usize) -> Result<Self, Error> {
        let written: Written = parse(bytes, "configuration")?;
        let variant = written.variant.filter(|variant| !variant.is_empty());
        let config = Self {
            platform: Platform::named(written.os, written.architecture, variant),
            config: written.config,
            rootfs: written.rootfs,
        };
        if device.rank(&config.platform).is_none() {
            let (wanted, found) = (device.to_string(), config.platform.to_string());
            return Err(Error::WrongArchitecture { wanted, found });
        }
        let described = config.rootfs.diff_ids.len();
        if described != layers {
            let why = format!("{layers} layers in the manifest, {described} in the configuration");
            return Err(Error::BadImage(why));
        }
        Ok(config)
    }
}

fn pick(index: Index, device: &Platform) -> Result<Descriptor, Error> {
    index.check()?;
    if index.manifests.len() > MAX_MANIFESTS {
        let count = index.manifests.len();
        return Err(Error::BadImage(format!(
            "{count} manifests in the index; at most {MAX_MANIFESTS}"
        )));
    }
    let named = |manifest: &Descriptor| manifest.platform.as_ref().map(Platform::to_string);
    let found: Vec<String> = index.manifests.iter().filter_map(named).collect();
    let ranked = index.manifests.into_iter().filter_map(|manifest| {
        let rank = device.rank(manifest.platform.as_ref()?)?;
        Some((rank, manifest))
    });
    // `min_by_key` keeps the first of equals, which is the order that the publisher gave.
    let best = ranked
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, manifest)| manifest);
    best.ok_or_else(|| Error::WrongArchitecture {
        wanted: device.to_string(),
        found: found.join(", "),
    })
}

/// Reads a document; of a mistake, says at which of its fields it is.
fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T, Error> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let wrong = |why: String| Error::BadImage(format!("{what}: {why}"));
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        // The whole document is called `.`.
        wrong(if path == "." {
            inner.to_string()
        } else {
            format!("{path}: {inner}")
        })
    })?;
    reader.end().map_err(|error| wrong(error.to_string()))?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[(&str, &str, Option<&str>)]) -> Vec<u8> {
        let entries: Vec<String> = entries.iter().enumerate().map(|(size, (os, architecture, variant))| {
            let digest = Digest::of(architecture.as_bytes());
            let variant = variant.map(|v| format!(r#","variant":"{v}""#)).unwrap_or_default();
            format!(r#"{{"mediaType":"m","digest":"{digest}","size":{size},"platform":{{"os":"{os}","architecture":"{architecture}"{variant}}}}}"#)
        }).collect();
        format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            entries.join(",")
        )
        .into_bytes()
    }

    fn chosen(bytes: &[u8], device: &Platform) -> Result<u64, Error> {
        match Artifact::decode(bytes, device)? {
            Artifact::Index(descriptor) => Ok(descriptor.size),
            Artifact::Manifest(_) => panic!("an index was given"),
        }
    }

    #[test]
    fn an_index_yields_the_best_variant_that_the_device_runs() {
        let bytes = index(&[
            ("linux", "amd64", None),
            ("linux", "arm", Some("v6")),
            ("linux", "arm", Some("v7")),
            ("linux", "arm64", Some("v8")),
            ("unknown", "unknown", None),
        ]);
        assert_eq!(
            chosen(&bytes, &Platform::new("arm", Some("v7"))).unwrap(),
            2
        );
        assert_eq!(
            chosen(&bytes, &Platform::new("arm", Some("v6"))).unwrap(),
            1
        );
        assert_eq!(
            chosen(&bytes, &Platform::new("arm64", Some("v8"))).unwrap(),
            3
        );
        assert_eq!(chosen(&bytes, &Platform::new("amd64", None)).unwrap(), 0);
    }

    #[test]
    fn an_arm64_device_takes_a_32_bit_image_where_there_is_no_other() {
        let bytes = index(&[("linux", "amd64", None), ("linux", "arm", Some("v7"))]);
        assert_eq!(
            chosen(&bytes, &Platform::new("arm64", Some("v8"))).unwrap(),
            1
        );
    }

    #[test]
    fn an_index_without_the_device_says_what_it_has() {
        let bytes = index(&[("linux", "amd64", None), ("windows", "arm", Some("v7"))]);
        let error = chosen(&bytes, &Platform::new("arm", Some("v7"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image is for linux/amd64, windows/arm/v7; this device is linux/arm/v7"
        );
    }

    #[test]
    fn a_configuration_must_describe_the_manifests_layers() {
        let digest = Digest::of(b"");
        let text = format!(
            r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{digest}"]}}}}"#
        );
        let device = Platform::new("amd64", None);
        assert!(ImageConfig::decode(text.as_bytes(), &device, 1).is_ok());
        assert!(matches!(
            ImageConfig::decode(text.as_bytes(), &device, 2),
            Err(Error::BadImage(_))
        ));
    }
}
