//! Container specs that releases name, read from the blob store for the director.

use std::collections::BTreeMap;

use lightship_api::Name;
use lightship_core::id::Digest;
use lightship_core::target::Kind;
use lightship_core::trust::{Envelope, ReleaseHead};
use lightship_director::{Document, DocumentError};
use lightship_spec::container::ContainerSpec;

use crate::App;
use crate::db;
use crate::release;
use crate::signer::oci;

/// The largest spec that is read.
const SPEC_BYTES: u64 = 256 * 1024;

/// The specs of one fleet.
pub(crate) struct Specs<'a> {
    app: &'a App,
    fleet: &'a Name,
}

impl<'a> Specs<'a> {
    /// Those that were uploaded to this fleet.
    pub(crate) fn of(app: &'a App, fleet: &'a Name) -> Self {
        Self { app, fleet }
    }

    /// What the director needs of a signed document that was accepted before.
    pub(crate) async fn document(&self, document: &[u8]) -> Option<(ReleaseHead, Document)> {
        let envelope = Envelope::open(document).ok()?;
        self.read(envelope.payload).await.ok()
    }

    /// What the director needs of the payload of a release document.
    pub(crate) async fn read(
        &self,
        payload: &[u8],
    ) -> Result<(ReleaseHead, Document), DocumentError> {
        let (_, components) = release::read(payload)?;
        let mut specs = BTreeMap::new();
        for component in components
            .iter()
            .filter(|component| component.kind == Kind::Container)
        {
            if let Some(spec) = self.spec(&component.spec).await {
                specs.insert(component.spec, spec);
            }
        }
        Document::read(payload, |digest| specs.get(digest).cloned())
    }

    async fn spec(&self, digest: &Digest) -> Option<ContainerSpec> {
        let size = db::blobs::size_in_fleet(&self.app.db, self.fleet, &oci(digest))
            .await
            .ok()??;
        if size > SPEC_BYTES {
            return None;
        }
        let bytes = self.app.store.read_all(&oci(digest)).await.ok()?;
        ContainerSpec::decode(&bytes).ok()
    }
}
