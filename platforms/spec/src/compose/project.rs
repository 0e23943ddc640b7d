//! The top level of a compose file.

use std::collections::{BTreeMap, BTreeSet};

use super::field::{EXTENSION, Field};
use super::{Input, MAX_SERVICES, Project, environment, order, service, unsupported};
use crate::problem::Collector;
use crate::yaml::Node;

/// What services may refer to.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) networks: BTreeSet<String>,
    /// Names in the file with the names on the device.
    pub(crate) volumes: BTreeMap<String, String>,
    pub(crate) configs: BTreeMap<String, Source>,
    pub(crate) secrets: BTreeMap<String, Source>,
}

/// Where the content of a config or secret comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Text(String),
    Setting(String),
}

pub(crate) fn read(tree: &Node, input: &Input<'_>, problems: &mut Collector<'_>) -> Project {
    let root = Field::root(tree);
    let mut project = Project {
        name: input.name.to_owned(),
        services: BTreeMap::new(),
    };
    let Some(mut fields) = root.fields(problems) else {
        return project;
    };
    if let Some(version) = fields.take("version") {
        // It means nothing any more.
        version.text(problems);
    }
    if let Some(name) = fields.take("name") {
        let expected = "lower-case letters, digits, - and _, starting with a letter or digit";
        let name = name.parsed(problems, expected, |text| {
            is_project_name(text).then_some(text)
        });
        name.unwrap_or_default().clone_into(&mut project.name);
    }
    let shared = Shared {
        networks: networks(fields.take("networks"), problems),
        volumes: volumes(fields.take("volumes"), problems),
        configs: sources(fields.take("configs"), input, problems),
        secrets: sources(fields.take("secrets"), input, problems),
    };
    let services = fields.demand("services", problems);
    fields.take(EXTENSION).inspect(|own| {
        own.wrong(problems, "has no meaning here", "put it into a service");
    });
    fields.finish(unsupported::TOP_LEVEL, problems);
    if let Some(services) = services {
        read_services(&services, &shared, input, &mut project, problems);
    }
    project
}

fn read_services(
    all: &Field<'_>,
    shared: &Shared,
    input: &Input<'_>,
    project: &mut Project,
    problems: &mut Collector<'_>,
) {
    let entries = all.entries(problems);
    if !all.is_mapping() {
        return;
    }
    if entries.is_empty() {
        all.wrong(problems, "no service", "name at least one");
    }
    if entries.len() > MAX_SERVICES {
        let what = format!(
            "{} services; at most {MAX_SERVICES} fit a release",
            entries.len()
        );
        all.wrong(problems, what, "");
        return;
    }
    let mut read = BTreeMap::new();
    for (key, field) in entries {
        if !is_service_name(&key.name) {
            let help = "use 1 to 32 lower-case letters, digits, - and _".to_owned();
            problems.add(
                key.place,
                &field.path,
                "not a name for a service",
                Some(help),
            );
        }
        if let Some(draft) = service::read(&field, &project.name, shared, input, problems) {
            read.insert(key.name.clone(), draft);
        }
    }
    project.services = order::settle(read, input.profiles, problems);
}

fn is_project_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    starts && text.len() <= 63 && text.chars().all(allowed)
}

/// What the core allows for the name of a component.
fn is_service_name(text: &str) -> bool {
    lightship_core::id::Name::new(text).is_ok()
}

fn networks(field: Option<Field<'_>>, problems: &mut Collector<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::from(["default".to_owned()]);
    let Some(field) = field else { return names };
    for (key, network) in field.entries(problems) {
        names.insert(key.name.clone());
        let Some(mut fields) = network.fields(problems) else {
            continue;
        };
        if let Some(driver) = fields.take("driver") {
            driver.parsed(problems, "bridge", |text| {
                matches!(text, "bridge" | "default").then_some(())
            });
        }
        labels(fields.take("labels"), problems);
        let unsupported = [
            ("attachable", "it belongs to Swarm; remove it"),
            ("driver_opts", "remove it"),
            ("enable_ipv4", "remove it"),
            ("enable_ipv6", "remove it"),
            (
                "external",
                "remove it; a network belongs to its application",
            ),
            ("internal", "remove it"),
            ("ipam", "remove it; the engine assigns addresses"),
            ("name", "remove it; a network belongs to its application"),
        ];
        fields.finish(&unsupported, problems);
    }
    names
}

fn volumes(field: Option<Field<'_>>, problems: &mut Collector<'_>) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let Some(field) = field else { return names };
    for (key, volume) in field.entries(problems) {
        let Some(mut fields) = volume.fields(problems) else {
            continue;
        };
        if let Some(driver) = fields.take("driver") {
            driver.parsed(problems, "local", |text| {
                matches!(text, "local" | "default").then_some(())
            });
        }
        labels(fields.take("labels"), problems);
        let named = fields.take("name").and_then(|name| name.text(problems));
        let name = named.unwrap_or(&key.name);
        if !is_volume_name(name) {
            let help = "use letters, digits, - _ and ., starting with a letter or digit".to_owned();
            problems.add(
                key.place,
                &volume.path,
                "not a name for a volume",
                Some(help),
            );
        }
        names.insert(key.name.clone(), name.to_owned());
        let unsupported = [
            ("driver_opts", "use a bind mount or tmpfs in the service"),
            ("external", "remove it; a volume belongs to its application"),
        ];
        fields.finish(&unsupported, problems);
    }
    names
}

/// Labels of what is made on the device have nobody who reads them.
fn labels(field: Option<Field<'_>>, problems: &mut Collector<'_>) {
    if let Some(field) = field {
        environment::pairs(&field, problems);
    }
}

pub(crate) fn is_volume_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    starts && text.len() <= 64 && text.chars().all(allowed)
}

fn sources(
    field: Option<Field<'_>>,
    input: &Input<'_>,
    problems: &mut Collector<'_>,
) -> BTreeMap<String, Source> {
    let mut all = BTreeMap::new();
    let Some(field) = field else { return all };
    for (key, source) in field.entries(problems) {
        let before = all.len();
        all.extend(read_source(&key.name, &source, input, problems).map(|s| (key.name.clone(), s)));
        if all.len() == before {
            // Wrong and reported; services that refer to it must not be reported as well.
            all.insert(key.name.clone(), Source::Text(String::new()));
        }
    }
    all
}

/// One of `file`, `content` (the publisher's text) or `environment`, `external` (the device's value).
fn read_source(
    name: &str,
    source: &Field<'_>,
    input: &Input<'_>,
    problems: &mut Collector<'_>,
) -> Option<Source> {
    let mut fields = source.fields(problems)?;
    let mut found = Vec::new();
    if let Some(file) = fields.take("file") {
        let text = file.text(problems).map(|path| input.files.read(path));
        match text {
            Some(Ok(text)) => found.push(Source::Text(text)),
            Some(Err(why)) => file.wrong(problems, format!("cannot be read: {why}"), ""),
            None => {}
        }
    }
    if let Some(content) = fields.take("content") {
        found.extend(
            content
                .text(problems)
                .map(|text| Source::Text(text.to_owned())),
        );
    }
    if let Some(variable) = fields.take("environment") {
        let is_one = |name: &&str| environment::is_variable(name) && !name.contains('*');
        let expected = "the name of a variable";
        let name = variable.parsed(problems, expected, |name| Some(name).filter(is_one));
        found.extend(name.map(|name| Source::Setting(name.to_owned())));
    }
    let external = fields
        .take("external")
        .and_then(|field| field.boolean(problems));
    let outer = fields.take("name").and_then(|field| field.text(problems));
    if external == Some(true) {
        found.push(Source::Setting(outer.unwrap_or(name).to_owned()));
    }
    labels(fields.take("labels"), problems);
    fields.finish(
        &[("driver", "remove it"), ("template_driver", "remove it")],
        problems,
    );
    if found.len() > 1 {
        source.wrong(
            problems,
            "has several sources",
            "keep one of file, content, environment and external",
        );
    } else if found.is_empty() && !problems.has(&source.path) {
        source.wrong(
            problems,
            "has no source",
            "add file, content, environment or external: true",
        );
    }
    found.into_iter().next()
}
