//! `depends_on`, profiles, and what only shows when all services are known.

use std::collections::{BTreeMap, BTreeSet};

use lightship_core::limits::DEPENDENCIES;
use lightship_core::target::Condition;

use super::Service;
use super::field::Fields;
use super::service::Draft;
use crate::container::{HealthTest, Restart, Run};
use crate::problem::{Collector, Place, nearest};

/// One entry of `depends_on`.
#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    pub(crate) place: Place,
    pub(crate) path: String,
    pub(crate) condition: Condition,
    /// Whether the other service must be there at all.
    pub(crate) required: bool,
}

pub(crate) fn read(
    fields: &mut Fields<'_>,
    problems: &mut Collector<'_>,
) -> BTreeMap<String, Dependency> {
    let mut found = BTreeMap::new();
    let Some(field) = fields.take("depends_on") else {
        return found;
    };
    let plain = |place, path: &str| Dependency {
        place,
        path: path.to_owned(),
        condition: Condition::Started,
        required: true,
    };
    if field.is_sequence() {
        for item in field.items(problems) {
            let name = item.text(problems).map(str::to_owned);
            found.extend(name.map(|name| (name, plain(item.place(), &item.path))));
        }
        return found;
    }
    for (key, entry) in field.entries(problems) {
        let mut dependency = plain(key.place, &entry.path);
        let Some(mut fields) = entry.fields(problems) else {
            continue;
        };
        if let Some(condition) = fields.take("condition") {
            let expected = "service_started, service_healthy or service_completed_successfully";
            let condition = condition.parsed(problems, expected, condition_of);
            dependency.condition = condition.unwrap_or(Condition::Started);
        }
        if let Some(required) = fields.take("required") {
            dependency.required = required.boolean(problems).unwrap_or(true);
        }
        if let Some(restart) = fields.take("restart")
            && restart.boolean(problems) == Some(true)
        {
            restart.wrong(
                problems,
                "not supported",
                "remove it; each service is restarted for itself",
            );
        }
        fields.finish(&[], problems);
        found.insert(key.name.clone(), dependency);
    }
    found
}

fn condition_of(text: &str) -> Option<Condition> {
    Some(match text {
        "service_started" => Condition::Started,
        "service_healthy" => Condition::Healthy,
        "service_completed_successfully" => Condition::Completed,
        _ => return None,
    })
}

/// Leaves out what no profile asks for, and checks what is left as a whole.
pub(crate) fn settle(
    mut drafts: BTreeMap<String, Draft>,
    profiles: &BTreeSet<String>,
    problems: &mut Collector<'_>,
) -> BTreeMap<String, Service> {
    let all: BTreeSet<String> = drafts.keys().cloned().collect();
    drafts.retain(|_, draft| {
        let asked = |name: &String| profiles.contains(name);
        draft.profiles.is_empty() || draft.profiles.iter().any(asked)
    });
    let waited_for: BTreeSet<String> = drafts
        .values()
        .flat_map(|draft| &draft.dependencies)
        .filter(|(_, dependency)| dependency.condition == Condition::Completed)
        .map(|(name, _)| name.clone())
        .collect();
    for (name, draft) in &mut drafts {
        let spec = &mut draft.service.spec;
        if waited_for.contains(name) && !draft.end_is_given {
            spec.restart = Restart::No;
        }
        let ends = matches!(spec.restart, Restart::No | Restart::OnFailure { .. });
        if waited_for.contains(name) && ends {
            spec.run = Run::Job;
        }
    }
    for draft in drafts.values() {
        check(draft, &drafts, &all, problems);
    }
    cycles(&drafts, problems);
    let named: BTreeSet<String> = drafts.keys().cloned().collect();
    let finished = drafts.into_iter().map(|(name, draft)| {
        let mut service = draft.service;
        let there = draft
            .dependencies
            .into_iter()
            .filter(|(name, _)| named.contains(name));
        service.after = there
            .map(|(name, dependency)| (name, dependency.condition))
            .collect();
        (name, service)
    });
    finished.collect()
}

fn check(
    draft: &Draft,
    drafts: &BTreeMap<String, Draft>,
    all: &BTreeSet<String>,
    problems: &mut Collector<'_>,
) {
    if draft.dependencies.len() > DEPENDENCIES {
        let what = format!(
            "depends on {} services; at most {DEPENDENCIES}",
            draft.dependencies.len()
        );
        problems.add(draft.place, &draft.path, what, None);
    }
    for (name, dependency) in &draft.dependencies {
        let mut wrong = |what: String, help: Option<String>| {
            problems.add(dependency.place, &dependency.path, what, help);
        };
        let Some(other) = drafts.get(name) else {
            if !all.contains(name) {
                let meant = nearest(name, all.iter().map(String::as_str));
                let help = meant.map(|meant| format!("did you mean `{meant}`?"));
                wrong(format!("there is no service {name:?}"), help);
            } else if dependency.required {
                let help = "switch its profile on, or write required: false".to_owned();
                wrong(
                    format!("service {name:?} is left out by its profiles"),
                    Some(help),
                );
            }
            continue;
        };
        let spec = &other.service.spec;
        match dependency.condition {
            Condition::Completed if spec.run != Run::Job => {
                let help = format!("write restart: \"no\" in {name}");
                wrong(
                    format!("service {name:?} never completes: it is restarted"),
                    Some(help),
                );
            }
            Condition::Healthy
                if spec
                    .health
                    .as_ref()
                    .is_some_and(|health| health.test == HealthTest::None) =>
            {
                wrong(
                    format!("the health check of service {name:?} is disabled"),
                    None,
                );
            }
            Condition::Started | Condition::Healthy | Condition::Completed => {}
        }
    }
}

/// Takes away, again and again, what waits for nothing that is left; what stays is in a circle or behind one.
fn cycles(drafts: &BTreeMap<String, Draft>, problems: &mut Collector<'_>) {
    let mut left: BTreeSet<&str> = drafts.keys().map(String::as_str).collect();
    loop {
        let waits = |name: &&str| {
            let names = drafts[*name].dependencies.keys();
            names.map(String::as_str).any(|other| left.contains(other))
        };
        let stuck: BTreeSet<&str> = left.iter().copied().filter(waits).collect();
        if stuck.len() == left.len() {
            break;
        }
        left = stuck;
    }
    if let Some(first) = left.first() {
        let names: Vec<&str> = left.iter().copied().collect();
        let draft = &drafts[*first];
        let what = format!(
            "services wait for each other in a circle: {}",
            names.join(", ")
        );
        problems.add(draft.place, &draft.path, what, None);
    }
}
