//! What is said before messages flow.

use lightship_core::id::{ApiKey, ProvisioningKey, Uuid};
use lightship_link::{Credentials, Failure, Misconduct, Secret};
use serde::{Deserialize, Serialize};

use crate::limits::VERSIONS;

/// Longest of these in postcard: versions, a length, a uuid and a key.
pub(crate) const SESSION_BYTES: usize = 2 + 5 + 16 + 1 + 32;

/// A device asks for a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) lowest: u8,
    pub(crate) highest: u8,
    pub(crate) payload_bytes: u16,
    pub(crate) uuid: Uuid,
    pub(crate) shown: Shown,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shown {
    Api(ApiKey),
    Provisioning(ProvisioningKey),
}

/// It has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) version: u8,
    pub(crate) payload_bytes: u16,
    /// Whether this device was here before and what could not be delivered was kept.
    pub(crate) resumed: bool,
}

/// Why a device gets no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sorry {
    /// What it shows is not good.
    Refused {
        /// Seconds to wait.
        retry_after_s: Option<u32>,
    },
    /// Not now.
    Busy {
        /// Seconds to wait.
        retry_after_s: Option<u32>,
    },
    /// There is no version that both sides speak.
    NoCommonVersion,
}

impl Hello {
    pub(crate) fn new(credentials: &Credentials, payload_bytes: u16) -> Self {
        Self {
            lowest: VERSIONS.0,
            highest: VERSIONS.1,
            payload_bytes,
            uuid: credentials.uuid,
            shown: match &credentials.secret {
                Secret::Api(key) => Shown::Api(*key),
                Secret::Provisioning(key) => Shown::Provisioning(*key),
            },
        }
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            uuid: self.uuid,
            secret: match &self.shown {
                Shown::Api(key) => Secret::Api(*key),
                Shown::Provisioning(key) => Secret::Provisioning(*key),
            },
        }
    }

    /// The highest version that both sides speak.
    pub(crate) fn version(&self) -> Result<u8, Sorry> {
        let version = self.highest.min(VERSIONS.1);
        match version >= self.lowest.max(VERSIONS.0) {
            true => Ok(version),
            false => Err(Sorry::NoCommonVersion),
        }
    }
}

impl Sorry {
    pub(crate) fn failure(self) -> Failure {
        let limit =
            |seconds: Option<u32>| seconds.map(|s| s.min(lightship_link::limits::RETRY_AFTER_S));
        match self {
            Self::Refused { retry_after_s } => Failure::Refused {
                retry_after_s: limit(retry_after_s),
            },
            Self::Busy { retry_after_s } => Failure::Busy {
                retry_after_s: limit(retry_after_s),
            },
            Self::NoCommonVersion => Failure::Misbehaved(Misconduct::Sequence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_spoken() {
        let credentials = Credentials {
            uuid: Uuid::from_random([1; 16]),
            secret: Secret::Api(ApiKey([2; 32])),
        };
        let mut hello = Hello::new(&credentials, 1000);
        assert_eq!(hello.credentials(), credentials);
        assert_eq!(hello.version(), Ok(1));
        (hello.lowest, hello.highest) = (1, 9);
        assert_eq!(hello.version(), Ok(1));
        (hello.lowest, hello.highest) = (2, 9);
        assert_eq!(hello.version(), Err(Sorry::NoCommonVersion));
    }

    #[test]
    fn the_longest_hello_fits() {
        let credentials = Credentials {
            uuid: Uuid::from_random([1; 16]),
            secret: Secret::Provisioning(ProvisioningKey([0xff; 32])),
        };
        let mut out = [0; SESSION_BYTES];
        let hello = Hello::new(&credentials, u16::MAX);
        assert!(postcard::to_slice(&hello, &mut out).is_ok());
    }
}
