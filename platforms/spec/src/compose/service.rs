//! One service: asks each concern's reader for its fields, then refuses what is left.

use std::collections::{BTreeMap, BTreeSet};

use lightship_core::target::{Health, Strategy};

use super::field::{EXTENSION, Field};
use super::order::Dependency;
use super::project::Shared;
use super::{
    Input, Service, build, environment, extension, files, health, image, labels, limits, mounts,
    network, order, process, security, unsupported,
};
use crate::container::{ContainerSpec, MAX_SPEC_BYTES};
use crate::problem::{Collector, Place};

/// A service before it is known which others there are.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) place: Place,
    pub(crate) path: String,
    pub(crate) service: Service,
    pub(crate) profiles: BTreeSet<String>,
    pub(crate) dependencies: BTreeMap<String, Dependency>,
    /// Whether `restart` or `x-lightship` says what happens at its end.
    pub(crate) end_is_given: bool,
}

pub(crate) fn read(
    field: &Field<'_>,
    application: &str,
    shared: &Shared,
    input: &Input<'_>,
    problems: &mut Collector<'_>,
) -> Option<Draft> {
    let mut fields = field.fields(problems)?;
    let image = build::read(field, &mut fields, problems);
    let mut service = Service {
        image: image.unwrap_or(super::Image::Pull(String::new())),
        after: BTreeMap::new(),
        strategy: Strategy::default(),
        hand_over_timeout_ms: None,
        health: Health::default(),
        spec: empty_spec(application),
    };
    if let super::Image::Pull(reference) = &service.image {
        let repository = image::repository(reference).unwrap_or_default();
        repository.clone_into(&mut service.spec.image);
    }
    let spec = &mut service.spec;
    environment::read(&mut fields, input, spec, problems);
    let end_is_given = process::read(&mut fields, spec, problems);
    limits::read(&mut fields, spec, problems);
    security::read(&mut fields, spec, problems);
    let mut dependencies = order::read(&mut fields, problems);
    network::read(&mut fields, shared, spec, &mut dependencies, problems);
    mounts::read(&mut fields, shared, spec, problems);
    files::read(&mut fields, shared, spec, problems);
    spec.health = fields
        .take("healthcheck")
        .and_then(|f| health::read(&f, problems));
    if let Some(field) = fields.take("labels") {
        labels::read(&field, &mut service, problems);
    }
    let profiles = fields
        .take("profiles")
        .map(|f| f.items(problems))
        .unwrap_or_default();
    let profiles = profiles
        .iter()
        .filter_map(|f| f.text(problems).map(str::to_owned))
        .collect();
    let own = fields.take(EXTENSION);
    let own = own.is_some_and(|field| extension::read(&field, &mut service, problems));
    fields.finish(unsupported::SERVICE, problems);
    canonical(&mut service.spec);
    too_long(field, &service.spec, problems);
    Some(Draft {
        place: field.place(),
        path: field.path.clone(),
        service,
        profiles,
        dependencies,
        end_is_given: end_is_given || own,
    })
}

fn empty_spec(application: &str) -> ContainerSpec {
    let smallest = serde_json::json!({ "version": crate::container::SPEC_VERSION,
        "application": application, "image": "" });
    serde_json::from_value(smallest).expect("every other field of a spec has a default")
}

/// Puts lists whose order has no meaning into one order, so that equal services have equal bytes.
fn canonical(spec: &mut ContainerSpec) {
    spec.network
        .ports
        .sort_by_key(|port| (port.host, port.protocol, port.host_ip, port.container));
    spec.network.ports.dedup();
    spec.devices.sort_by(|a, b| a.container.cmp(&b.container));
    spec.device_rules.sort();
    spec.files.sort_by(|a, b| a.target.cmp(&b.target));
    // A folder sorts before what lies in it, so this is also an order of mounting that works.
    spec.mounts
        .sort_by(|a, b| mounts::target(a).cmp(mounts::target(b)));
    spec.group_add.sort();
    spec.group_add.dedup();
}

fn too_long(field: &Field<'_>, spec: &ContainerSpec, problems: &mut Collector<'_>) {
    // Room for the repository of an image that is not built yet.
    const ROOM: usize = 256;
    let length = spec.encode().len();
    if length + ROOM > MAX_SPEC_BYTES {
        let most = MAX_SPEC_BYTES - ROOM;
        let what = format!("its spec has {length} bytes; at most {most} are allowed");
        field.wrong(problems, what, "put large files into the image");
    }
}
