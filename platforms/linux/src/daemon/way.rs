//! Opens the way that the agent's credentials call for: the tunnel, and what is shown at the end of it.

use lightship_core::{Credentials, Failure, TunnelKey};
use lightship_https::host::Reader;
use lightship_link::{BlobFailure, Blobs, Credentials as LinkCredentials, Secret};

use super::tunnel::Keeper;
use crate::engine::pull::{Credentials as RegistryCredentials, Registries};

/// The tunnel, and who shows what where.
pub(super) struct Way {
    pub(super) keeper: Keeper,
    pub(super) registries: Registries,
    /// Host and port of the fleet, where its registry is as well.
    pub(super) fleet: String,
    /// What blobs and logs are fetched and sent with; MQTT shows its credentials itself.
    pub(super) badges: [Badge; 2],
    /// The credentials prepared last are those of a registered device.
    pub(super) registered: bool,
}

/// Says what is shown from now on.
pub(super) type Badge = Box<dyn Fn(&LinkCredentials)>;

impl Way {
    pub(super) const fn is_registered(&self) -> bool {
        self.registered
    }

    pub(super) async fn prepare(&mut self, credentials: &Credentials<'_>) -> Result<(), Failure> {
        let (uuid, api_key, wireguard, tunnel, floor) = match credentials {
            // Registration is what needs no tunnel, and there is none before.
            Credentials::Enrolment { .. } => {
                self.registered = false;
                self.keeper.close();
                return Ok(());
            }
            Credentials::Device {
                uuid,
                api_key,
                wireguard,
                tunnel,
                handshake_floor,
            } => (uuid, api_key, wireguard, tunnel, handshake_floor),
        };
        let registry = RegistryCredentials {
            user: uuid.to_string(),
            password: hex::encode(api_key.0),
        };
        self.registries.authorise(&self.fleet, registry);
        let shown = LinkCredentials {
            uuid: *uuid,
            secret: Secret::Api(**api_key),
        };
        self.registered = true;
        self.badges.iter().for_each(|badge| badge(&shown));
        match (tunnel, wireguard) {
            (Some(terms), TunnelKey::Inside(secret)) => {
                self.keeper.hold(secret, floor.0, terms).await
            }
            // This platform makes no keys outside, so there is none to use.
            (Some(_), TunnelKey::Outside(_)) => Err(Failure::Unusable),
            (None, _) => {
                self.keeper.close();
                Ok(())
            }
        }
    }
}

/// Reads blobs in the tunnel, and directly when there is no way through it.
pub(super) struct Readers {
    pub(super) inside: Reader,
    pub(super) direct: Reader,
}

impl Blobs for Readers {
    async fn read(
        &mut self,
        digest: &lightship_core::id::Digest,
        offset: u64,
        into: &mut [u8],
    ) -> Result<usize, BlobFailure> {
        match self.inside.read(digest, offset, into).await {
            Err(BlobFailure::Link(_)) => self.direct.read(digest, offset, into).await,
            answer @ (Ok(_) | Err(BlobFailure::Absent)) => answer,
        }
    }
}
