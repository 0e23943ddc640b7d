//! Messages to send to and fro.

use heapless::Vec;
use lightship_core::id::{ApiKey, Digest, Name, Uuid};
use lightship_core::wire::{
    Blob, Command, ComponentReport, ComponentState, Down, Order, Report, SignedTarget, Up,
};

use crate::contract::{Credentials, Secret};

/// A device with this API key; the uuid is always the same.
pub fn credentials(key: u8) -> Credentials {
    Credentials {
        uuid: Uuid::from_random([0x5a; 16]),
        secret: Secret::Api(ApiKey([key; 32])),
    }
}

/// A report that is told from others by its sequence.
pub fn report(sequence: u32) -> Up {
    let mut components = Vec::new();
    let component = ComponentReport {
        name: Name::new("web").expect("a name"),
        artifact: Digest([3; 32]),
        state: ComponentState::Healthy,
        fetched: None,
    };
    components.push(component).expect("one fits");
    Up::Report(Report {
        sequence,
        boot: 1,
        counter: 0,
        root: 1,
        committed: None,
        version: None,
        trial: None,
        rejected: None,
        offence: None,
        frozen: false,
        unsaved: false,
        components,
    })
}

/// A command that is told from others by its identifier.
pub fn command(id: u64) -> Down<'static> {
    Down::Command(Command {
        id,
        order: Order::Report,
    })
}

/// A target of two documents.
pub fn target<'a>(assignment: &'a [u8], release: &'a [u8]) -> Down<'a> {
    Down::Target(SignedTarget {
        assignment: Blob::Raw(assignment),
        release: Blob::Raw(release),
    })
}
