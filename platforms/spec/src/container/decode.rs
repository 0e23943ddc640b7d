//! Bytes to spec and back: bounded, of one known version, and with an error that says where.

use thiserror::Error;

use super::{ContainerSpec, MAX_SETTINGS_BYTES, MAX_SPEC_BYTES, SPEC_VERSION, Settings};

/// Why bytes are not a spec or settings that this version can use.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// Larger than the bound.
    #[error("{length} bytes; at most {most} are allowed")]
    TooLong {
        /// Bytes given.
        length: usize,
        /// Bytes allowed.
        most: usize,
    },
    /// Written by a newer (or unknown) publisher tool.
    #[error("version {0}; this device reads version {SPEC_VERSION}")]
    Version(u16),
    /// Not the JSON that the version's fields make.
    #[error("not a valid document: {0}")]
    Json(#[from] serde_json::Error),
}

impl ContainerSpec {
    /// Reads a spec from the bytes that were signed.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        bounded(bytes, MAX_SPEC_BYTES)?;
        let spec: Self = serde_json::from_slice(bytes)?;
        known(spec.version)?;
        Ok(spec)
    }

    /// Writes the bytes to be signed: compact JSON, fields in the order of the type, maps by name.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("every map of the spec has strings for keys")
    }
}

impl Settings {
    /// Reads settings from the bytes that the director signed.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        bounded(bytes, MAX_SETTINGS_BYTES)?;
        let settings: Self = serde_json::from_slice(bytes)?;
        known(settings.version)?;
        Ok(settings)
    }

    /// Writes the bytes to be signed.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the map of settings has strings for keys")
    }
}

fn bounded(bytes: &[u8], most: usize) -> Result<(), DecodeError> {
    if bytes.len() > most {
        return Err(DecodeError::TooLong {
            length: bytes.len(),
            most,
        });
    }
    Ok(())
}

fn known(version: u16) -> Result<(), DecodeError> {
    if version != SPEC_VERSION {
        return Err(DecodeError::Version(version));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = r#"{"version":1,"application":"a","image":"registry.example/web"}"#;

    #[test]
    fn the_smallest_spec_has_the_documented_defaults_and_keeps_its_meaning() {
        let spec = ContainerSpec::decode(SMALLEST.as_bytes()).unwrap();
        assert_eq!(spec.stop_grace_ms, 10_000);
        assert_eq!(ContainerSpec::decode(&spec.encode()).unwrap(), spec);
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let bytes = SMALLEST.replace("\"image\"", "\"colour\":1,\"image\"");
        let error = ContainerSpec::decode(bytes.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("colour"), "{error}");
    }

    #[test]
    fn another_version_is_refused() {
        let bytes = SMALLEST.replace("\"version\":1", "\"version\":2");
        assert!(matches!(
            ContainerSpec::decode(bytes.as_bytes()),
            Err(DecodeError::Version(2))
        ));
    }

    #[test]
    fn a_spec_over_the_bound_is_refused_before_it_is_parsed() {
        let bytes = vec![b' '; MAX_SPEC_BYTES + 1];
        assert!(matches!(
            ContainerSpec::decode(&bytes),
            Err(DecodeError::TooLong { .. })
        ));
    }
}
