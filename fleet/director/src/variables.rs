//! Variables and their precedence (balena's: device service, device, fleet service, fleet).
//!
//! The publisher's `settable` is the whole of what they can change: a variable that a release does not list is left out, one of the wrong kind withholds the release.

use std::collections::BTreeMap;

use lightship_core::id::{Digest, Name};
use lightship_core::target::Kind;
use lightship_spec::container::{SPEC_VERSION, Settings};
use lightship_spec::settings::{Rejection, check};
use serde::{Deserialize, Serialize};

use crate::facts::{Component, Document};

/// What a variable is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VariableKind {
    /// Seen by the application: containers and firmware.
    Environment,
    /// Read by what carries it: agent, operating system and firmware.
    Configuration,
}

impl VariableKind {
    const fn reaches(self, kind: Kind) -> bool {
        match (self, kind) {
            (Self::Environment, Kind::Container | Kind::Firmware)
            | (Self::Configuration, Kind::Firmware | Kind::HostOs | Kind::Agent) => true,
            (Self::Environment, Kind::HostOs | Kind::Agent)
            | (Self::Configuration, Kind::Container) => false,
        }
    }
}

/// Values, each for all services or for one.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Variables(BTreeMap<Scope, BTreeMap<String, String>>);

type Scope = (VariableKind, Option<Name>);

#[derive(Serialize, Deserialize)]
struct Entry {
    kind: VariableKind,
    service: Option<Name>,
    name: String,
    value: String,
}

impl From<Vec<Entry>> for Variables {
    fn from(entries: Vec<Entry>) -> Self {
        let mut variables = Self::default();
        for entry in entries {
            variables.set(entry.kind, entry.service, entry.name, entry.value);
        }
        variables
    }
}

impl From<Variables> for Vec<Entry> {
    fn from(variables: Variables) -> Self {
        let scopes = variables.0.into_iter();
        let entries = scopes.flat_map(|((kind, service), values)| {
            values.into_iter().map(move |(name, value)| Entry {
                kind,
                service: service.clone(),
                name,
                value,
            })
        });
        entries.collect()
    }
}

impl std::fmt::Debug for Variables {
    /// Leaves the values out: they may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.0.values().flat_map(BTreeMap::keys);
        f.debug_set().entries(names).finish()
    }
}

impl Variables {
    /// Sets a value for one service, or for all.
    pub fn set(&mut self, kind: VariableKind, service: Option<Name>, name: String, value: String) {
        self.0
            .entry((kind, service))
            .or_default()
            .insert(name, value);
    }

    fn layer(
        &self,
        kind: VariableKind,
        service: Option<Name>,
    ) -> Option<&BTreeMap<String, String>> {
        self.0.get(&(kind, service))
    }
}

/// The settings of one component of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Position of the component in the release, from 0.
    pub position: u8,
    /// SHA-256 digest of [`bytes`](Self::bytes).
    pub digest: Digest,
    /// The canonical settings document. It may hold secrets: it is for this device alone.
    pub bytes: Vec<u8>,
}

/// Fills the variables into a release, for one device.
///
/// # Errors
///
/// The component and the reason why it cannot be started with these values.
pub(crate) fn fill(
    document: &Document,
    fleet: &Variables,
    device: &Variables,
) -> Result<Vec<Filled>, (Name, Rejection)> {
    let mut all = Vec::new();
    for (position, component) in (0u8..).zip(&document.components) {
        let environment = effective(component, fleet, device)
            .map_err(|rejection| (component.name.clone(), rejection))?;
        if environment.is_empty() {
            continue;
        }
        let settings = Settings {
            version: SPEC_VERSION,
            environment,
        };
        let bytes = settings.encode();
        all.push(Filled {
            position,
            digest: Digest::of(&bytes),
            bytes,
        });
    }
    Ok(all)
}

fn effective(
    component: &Component,
    fleet: &Variables,
    device: &Variables,
) -> Result<BTreeMap<String, String>, Rejection> {
    let mut values = BTreeMap::new();
    if component.settable.is_empty() {
        return Ok(values);
    }
    let service = || Some(component.name.clone());
    for (whose, service) in [
        (fleet, None),
        (fleet, service()),
        (device, None),
        (device, service()),
    ] {
        for kind in [VariableKind::Configuration, VariableKind::Environment] {
            if let Some(layer) = whose
                .layer(kind, service.clone())
                .filter(|_| kind.reaches(component.kind))
            {
                let listed = layer
                    .iter()
                    .filter(|(name, _)| component.settable.contains_key(*name));
                values.extend(listed.map(|(name, value)| (name.clone(), value.clone())));
            }
        }
    }
    for (name, settable) in &component.settable {
        match values.get(name) {
            Some(value) => check(name, value, settable)?,
            None if settable.required && !component.given.contains(name) => {
                return Err(Rejection::Missing(name.clone()));
            }
            None => {}
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lightship_spec::container::{Kind as ValueKind, Settable};

    const ENV: VariableKind = VariableKind::Environment;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn vars(values: &[(Option<&str>, &str, &str)]) -> Variables {
        let mut all = Variables::default();
        for (service, key, value) in values {
            all.set(ENV, service.map(name), (*key).into(), (*value).into());
        }
        all
    }

    fn document(settable: &[(&str, Settable)]) -> Document {
        let mut component = Component::closed(name("web"), Kind::Container);
        let settable = settable.iter().cloned();
        component.settable = settable
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        Document {
            digest: Digest([0; 32]),
            security_version: 0,
            floor: 0,
            components: vec![component],
        }
    }

    fn value(fleet: &Variables, device: &Variables) -> String {
        let document = document(&[("A", Settable::default())]);
        let filled = fill(&document, fleet, device).unwrap();
        let settings = Settings::decode(&filled[0].bytes).unwrap();
        settings.environment["A"].clone()
    }

    #[test]
    fn a_devices_service_beats_the_device_beats_the_fleets_service_beats_the_fleet() {
        let mut fleet = vars(&[(None, "A", "fleet"), (Some("other"), "A", "no")]);
        let mut device = Variables::default();
        assert_eq!(value(&fleet, &device), "fleet");
        fleet.set(ENV, Some(name("web")), "A".into(), "fleet service".into());
        assert_eq!(value(&fleet, &device), "fleet service");
        device.set(ENV, None, "A".into(), "device".into());
        assert_eq!(value(&fleet, &device), "device");
        device.set(ENV, Some(name("web")), "A".into(), "device service".into());
        assert_eq!(value(&fleet, &device), "device service");
    }

    #[test]
    fn what_the_publisher_did_not_list_is_left_out() {
        let fleet = vars(&[(None, "LD_PRELOAD", "/data/evil.so"), (None, "A", "1")]);
        let listed = document(&[("A", Settable::default())]);
        let filled = fill(&listed, &fleet, &Variables::default()).unwrap();
        let settings = Settings::decode(&filled[0].bytes).unwrap();
        assert_eq!(settings.environment.keys().collect::<Vec<_>>(), ["A"]);
        let closed = document(&[]);
        assert_eq!(fill(&closed, &fleet, &Variables::default()), Ok(vec![]));
    }

    #[test]
    fn a_missing_or_malformed_value_is_refused_before_a_device_sees_it() {
        let number = Settable {
            required: true,
            secret: false,
            kind: ValueKind::Integer { min: 1, max: 9 },
        };
        let document = document(&[("N", number)]);
        let none = Variables::default();
        let missing = Rejection::Missing("N".into());
        assert_eq!(fill(&document, &none, &none), Err((name("web"), missing)));
        let wrong = vars(&[(None, "N", "ten")]);
        assert!(matches!(
            fill(&document, &wrong, &none),
            Err((_, Rejection::WrongKind { .. }))
        ));
        assert!(fill(&document, &vars(&[(None, "N", "7")]), &none).is_ok());
    }

    #[test]
    fn configuration_does_not_reach_containers() {
        let mut fleet = Variables::default();
        fleet.set(VariableKind::Configuration, None, "A".into(), "1".into());
        let mut document = document(&[("A", Settable::default())]);
        assert_eq!(fill(&document, &fleet, &Variables::default()), Ok(vec![]));
        document.components[0].kind = Kind::Agent;
        assert_eq!(
            fill(&document, &fleet, &Variables::default())
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn variables_survive_being_stored_and_never_print_their_values() {
        let variables = vars(&[(None, "A", "secret"), (Some("web"), "B", "secret")]);
        let text = serde_json::to_string(&variables).unwrap();
        assert_eq!(serde_json::from_str::<Variables>(&text).unwrap(), variables);
        assert_eq!(format!("{variables:?}"), r#"{"A", "B"}"#);
    }
}
