//! Power cuts at every file operation of provisioning: the agent's records, and the key in the configuration.
//!
//! Oracle: whatever the fleet has seen of a device is that device for life, and the next life comes to the same
//! end as if nothing had happened: registered, saved, the provisioning key gone.

#[path = "../../tests/engine/power.rs"]
mod power;
#[path = "../../tests/engine/time.rs"]
mod time;

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::future::pending;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use lightship_core::id::{ApiKey, Name, ProvisioningKey, PublicKey, Uuid};
use lightship_core::record::Record;
use lightship_core::time::{Instant, UnixTime};
use lightship_core::trust::{RoleKeys, Root};
use lightship_core::wire::{Down, Registered, Up};
use lightship_core::{Agent, Config, Credentials, Failure, Note, StepId, limits};
use lightship_driver::{Clock, Driver, Happening, Platform, Task};
use lightship_link::{Credentials as LinkCredentials, Event, Known, Link, NotTaken};

use super::config::erase_provisioning_key;
use super::records::Records;
use crate::store::Files;
use power::{LOSSES, Loss, Power};
use time::Time;

/// Who the fleet has been told of.
type Seen = Rc<RefCell<BTreeSet<(Uuid, ApiKey)>>>;

/// A fleet that lets everybody in.
struct Fleet {
    seen: Seen,
    power: Arc<Power>,
    events: VecDeque<Option<Registered>>,
    is_up: bool,
}

impl Link for Fleet {
    fn connect(&mut self, _: &LinkCredentials, _: Known) {
        self.is_up = true;
    }

    fn disconnect(&mut self) {}

    fn send(&mut self, message: Up) -> Result<(), NotTaken> {
        self.events.push_back(None);
        if let Up::Register(register) = message
            && !self.power.is_cut()
        {
            let known = (register.uuid, register.api_key);
            self.seen.borrow_mut().insert(known);
            let uuid = register.uuid;
            let tunnel = None;
            self.events.push_back(Some(Registered { uuid, tunnel }));
        }
        Ok(())
    }

    async fn next(&mut self) -> Event<'_> {
        if std::mem::take(&mut self.is_up) {
            return Event::Up { resumed: false };
        }
        match self.events.pop_front() {
            None => pending().await,
            Some(None) => Event::Sent,
            Some(Some(registered)) => Event::Message(Down::Registered(registered)),
        }
    }
}

/// The disk of a device, and what this life has come to.
struct Disk {
    records: Records,
    config: PathBuf,
    files: Files,
    power: Arc<Power>,
    happenings: VecDeque<Happening>,
    is_one_of_the_fleet: bool,
}

impl Disk {
    fn told<T, E>(&mut self, done: Result<T, E>) -> Result<T, Failure> {
        if self.power.is_cut() {
            self.happenings.push_back(Happening::Ended);
        }
        done.map_err(|_| Failure::Storage)
    }
}

impl Platform for Disk {
    fn note(&mut self, _: Instant, note: &Note) {
        let is_erased = !has_key(&self.config);
        if *note == Note::Connected && self.is_one_of_the_fleet && is_erased {
            self.happenings.push_back(Happening::Ended);
        }
        if *note == Note::ProvisioningKeyErased {
            self.happenings.push_back(Happening::Ended);
        }
    }

    async fn store(&mut self, record: Record, bytes: &[u8]) -> Result<(), Failure> {
        let saved = self.records.save(record, bytes);
        self.told(saved)
    }

    async fn erase_provisioning_key(&mut self) -> Result<(), Failure> {
        let erased = erase_provisioning_key(&self.config, &self.files);
        self.told(erased)
    }

    async fn create_key(&mut self, _: u8) -> Result<PublicKey, Failure> {
        Err(Failure::Unusable)
    }

    async fn prepare(&mut self, credentials: &Credentials<'_>) -> Result<(), Failure> {
        self.is_one_of_the_fleet = matches!(credentials, Credentials::Device { .. });
        Ok(())
    }

    fn begin(&mut self, id: StepId, _: Task<'_>) {
        self.happenings.push_back(Happening::Done(id, Ok(())));
    }

    fn cancel(&mut self, _: StepId) {}

    async fn next(&mut self) -> Happening {
        match self.happenings.pop_front() {
            Some(happening) => happening,
            None => pending().await,
        }
    }

    fn raise_floor(&mut self, _: u32) {}

    fn identify(&mut self) {}

    async fn reboot(&mut self) {}
}

/// What the device has before its first life.
const CONFIGURATION: &str = "name = \"x\"\nprovisioning_key = \"00\"\n";

fn has_key(config: &Path) -> bool {
    let text = std::fs::read_to_string(config).unwrap();
    text.contains("provisioning_key")
}

fn agent_config(config: &Path) -> Config {
    let role = |members| RoleKeys {
        members,
        threshold: 1,
    };
    Config {
        device_type: Name::new("board").unwrap(),
        product: Name::new("harbour").unwrap(),
        name: None,
        root: Root {
            version: 1,
            issued: UnixTime(1_700_000_000),
            expires: UnixTime(4_000_000_000),
            floor: 0,
            keys: [1, 2, 3]
                .map(|seed| PublicKey([seed; 32]))
                .into_iter()
                .collect(),
            root: role(1),
            release: role(2),
            director: role(4),
        },
        provisioning_key: has_key(config).then_some(ProvisioningKey([9; 32])),
        rotation_period_s: None,
        keys_outside: false,
    }
}

/// One life of a device, until it is registered and has forgotten its key, or the power goes.
async fn life(folder: &Path, power: Arc<Power>, seed: u8, seen: &Seen) {
    let files = Files::witnessed(power.clone());
    let Ok(records) = Records::open(&folder.join("agent"), files.clone()) else {
        return;
    };
    let loaded = records.load().unwrap();
    let config = folder.join("device.toml");
    let time = Time::default();
    let mut agent = Agent::<2>::new(
        agent_config(&config),
        loaded.saved(),
        [seed; 32],
        time.now(),
    );
    let link = Fleet {
        seen: seen.clone(),
        power: power.clone(),
        events: VecDeque::new(),
        is_up: false,
    };
    let mut disk = Disk {
        records,
        config,
        files,
        power,
        happenings: VecDeque::new(),
        is_one_of_the_fleet: false,
    };
    let mut buffer = vec![0; limits::RECORD_BYTES];
    Driver::new(&mut agent, link, &mut disk, time, &mut buffer)
        .run()
        .await;
}

/// A device whose power goes at these operations of its first lives, and then stays; whether the first cut came.
async fn cut(at: &[usize], loss: Loss) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("device.toml");
    std::fs::write(&config, CONFIGURATION).unwrap();
    let seen = Seen::default();
    let mut is_cut = false;
    for (seed, at) in (1..).zip(at) {
        let power = Power::new(Some(*at), loss);
        life(folder.path(), power.clone(), seed, &seen).await;
        is_cut |= power.is_cut();
    }
    let what = format!("cut at {at:?}, {loss:?}");
    if !has_key(&config) {
        assert!(
            !seen.borrow().is_empty(),
            "{what}: a key is gone that let nobody in"
        );
    }
    life(folder.path(), Power::new(None, loss), 99, &seen).await;
    assert_eq!(seen.borrow().len(), 1, "{what}: {:?}", seen.borrow());
    assert_eq!(
        std::fs::read_to_string(&config).unwrap(),
        "name = \"x\"\n",
        "{what}"
    );
    let records = Records::open(&folder.path().join("agent"), Files::default()).unwrap();
    let loaded = records.load().unwrap();
    let identity = loaded.saved().identity.expect("an identity is saved");
    let identity: lightship_core::record::Identity =
        lightship_core::record::decode(identity).unwrap();
    let known = (identity.uuid, identity.api_key);
    assert!(
        identity.registered && seen.borrow().contains(&known),
        "{what}"
    );
    is_cut
}

#[tokio::test]
async fn a_cut_at_any_file_operation_of_provisioning_costs_neither_identity_nor_registration() {
    let mut cuts = 0;
    for loss in LOSSES {
        for at in 1.. {
            if !cut(&[at], loss).await {
                break;
            }
            cuts += 1;
        }
    }
    let whole = Power::new(None, Loss::Nothing);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("device.toml"), CONFIGURATION).unwrap();
    life(folder.path(), whole.clone(), 1, &Seen::default()).await;
    assert!(whole.count() > 15, "only {} operations", whole.count());
    assert_eq!(cuts, whole.count() * LOSSES.len());
}

#[tokio::test]
async fn a_second_cut_in_the_life_after_the_first_costs_nothing_more() {
    for loss in LOSSES {
        for first in (1..).step_by(3) {
            let mut is_cut = false;
            for second in [1, 2, 5, 9, 14] {
                is_cut = cut(&[first, second], loss).await;
            }
            // The second life is cut even when the first is over.
            if !is_cut || first > 60 {
                break;
            }
        }
    }
}
