//! A firmware image becomes a release of one component.

use std::path::Path;

use lightship_api::Name;
use lightship_core::id::{Digest, Name as CoreName};
use lightship_core::target::{self, Component, Health, Kind, Mode, Strategy};
use lightship_image::{Header, SIGNED_LEN};

use super::Built;
use super::upload::{Artifact, Content};
use crate::failure::{Code, Failure};

/// What the component is called.
const NAME: &str = "firmware";

pub(crate) fn read(path: &Path, fleet: &Name, health: Health) -> Result<Built, Failure> {
    let bytes = std::fs::read(path).map_err(|error| Failure::file(path, &error))?;
    let header = header(&bytes).ok_or_else(|| {
        let failure = Failure::new(
            Code::Failed,
            format!("{} is no firmware image", path.display()),
        );
        failure.help(
            "a firmware image starts with a header that says its board, device type and version",
        )
    })?;
    let device_type = CoreName::new(header.device_type.as_str());
    let device_type = device_type.map_err(|_| {
        Failure::new(
            Code::Failed,
            format!("{}: its device type is no name", path.display()),
        )
    })?;
    let artifact = Digest::of(&bytes);
    let size = bytes.len() as u64;
    let component = Component {
        name: CoreName::new(NAME).expect("eight letters are a name"),
        kind: Kind::Firmware,
        artifact: target::Artifact {
            digest: artifact,
            size,
        },
        // Firmware leaves nothing open: how it is run is in its header.
        spec: Digest::of(&[]),
        settings: None,
        mode: Mode::Service,
        strategy: Strategy::DownloadThenKill,
        health,
        after: Default::default(),
    };
    Ok(Built {
        device_type,
        components: vec![component],
        artifacts: vec![Artifact {
            repository: format!("{fleet}/{NAME}"),
            digest: artifact,
            size,
            content: Content::File(path.to_owned()),
        }],
    })
}

/// The header, when it is one; its signature is the device's to judge.
fn header(bytes: &[u8]) -> Option<Header> {
    let signed: &[u8; SIGNED_LEN] = bytes.first_chunk()?;
    Header::decode(signed).ok()
}
