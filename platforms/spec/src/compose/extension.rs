//! `x-lightship` of a service: what Compose has no word for.
//!
//! ```yaml
//! x-lightship:
//!   kind: service               # or job: runs once to its end
//!   strategy: hand-over         # and the other three of balena
//!   hand-over-timeout: 60s
//!   health: { grace: 30s, window: 2m, failures: 3 }
//!   settable:                   # what a device's settings may set, and nothing else
//!     LOG_LEVEL: { one-of: [debug, info] }
//!     PORT: { integer: [1, 65535], required: true }
//!     TOKEN: { secret: true }
//!   features: [local-api]
//! ```

use super::field::Field;
use super::quantity::{DURATION, duration_ms};
use super::{Service, environment, labels};
use crate::container::{Feature, Kind, Restart, Run, Settable};
use crate::problem::Collector;

/// Fills the service; says whether the file tells what happens when it ends by itself.
pub(crate) fn read(field: &Field<'_>, service: &mut Service, problems: &mut Collector<'_>) -> bool {
    let Some(mut fields) = field.fields(problems) else {
        return false;
    };
    let kind = fields.take("kind").and_then(|f| {
        f.parsed(problems, "service or job", |t| match t {
            "service" => Some(Run::Service),
            "job" => Some(Run::Job),
            _ => None,
        })
    });
    if let Some(run) = kind {
        service.spec.run = run;
        if run == Run::Job && service.spec.restart == Restart::Always {
            service.spec.restart = Restart::No;
        }
    }
    if let Some(field) = fields.take("strategy") {
        let expected = "download-then-kill, kill-then-download, delete-then-download or hand-over";
        let strategy = field.parsed(problems, expected, labels::strategy);
        service.strategy = strategy.unwrap_or(service.strategy);
    }
    if let Some(field) = fields.take("hand-over-timeout") {
        service.hand_over_timeout_ms = field.parsed(problems, DURATION, duration_ms);
    }
    if let Some(field) = fields.take("health") {
        trial(&field, service, problems);
    }
    if let Some(field) = fields.take("settable") {
        settable(&field, service, problems);
    }
    for item in fields
        .take("features")
        .map(|f| f.items(problems))
        .unwrap_or_default()
    {
        service
            .spec
            .features
            .extend(item.parsed(problems, Feature::NAMES, Feature::from_name));
    }
    fields.finish(&[], problems);
    kind == Some(Run::Job)
}

fn trial(field: &Field<'_>, service: &mut Service, problems: &mut Collector<'_>) {
    let Some(mut fields) = field.fields(problems) else {
        return;
    };
    let expected = "a duration of at most 18 hours, such as 90s";
    let mut time = |name| {
        let field = fields.take(name);
        field.and_then(|f| f.parsed(problems, expected, labels::seconds))
    };
    let health = &mut service.health;
    health.grace_s = time("grace").unwrap_or(health.grace_s);
    health.window_s = time("window").unwrap_or(health.window_s);
    if let Some(field) = fields.take("failures") {
        let failures = field.parsed(problems, "a number from 0 to 255", |t| t.parse().ok());
        health.failures = failures.unwrap_or(health.failures);
    }
    fields.finish(&[], problems);
}

fn settable(field: &Field<'_>, service: &mut Service, problems: &mut Collector<'_>) {
    let mut named: Vec<(String, Field<'_>, Option<Settable>)> = Vec::new();
    if field.is_sequence() {
        for item in field.items(problems) {
            let name = item.text(problems).map(str::to_owned);
            named.extend(name.map(|name| (name, item, Some(Settable::default()))));
        }
    } else {
        for (key, entry) in field.entries(problems) {
            let one = read_settable(&entry, problems);
            named.push((key.name.clone(), entry, one));
        }
    }
    for (name, at, one) in named {
        if !environment::is_variable(&name) || name.contains('*') {
            at.wrong(
                problems,
                format!("{name:?} is not a name for a variable"),
                "name each variable in full",
            );
        }
        let Some(one) = one else { continue };
        let entry = service.spec.settable.entry(name).or_default();
        entry.required |= one.required;
        entry.secret |= one.secret;
        entry.kind = one.kind;
    }
}

fn read_settable(entry: &Field<'_>, problems: &mut Collector<'_>) -> Option<Settable> {
    let mut fields = entry.fields(problems)?;
    let mut flag = |name| fields.take(name).and_then(|f| f.boolean(problems)) == Some(true);
    let required = flag("required");
    let secret = flag("secret");
    let boolean = flag("boolean");
    let integer = fields.take("integer").and_then(|f| bounds(&f, problems));
    let one_of = fields.take("one-of").map(|f| f.items(problems));
    let one_of = one_of.map(|items| {
        let texts = items
            .iter()
            .filter_map(|f| f.text(problems).map(str::to_owned));
        Kind::OneOf(texts.collect())
    });
    fields.finish(&[], problems);
    let mut kinds = integer
        .into_iter()
        .chain(one_of)
        .chain(boolean.then_some(Kind::Boolean));
    let kind = kinds.next().unwrap_or_default();
    if kinds.next().is_some() {
        entry.wrong(
            problems,
            "a variable has one kind",
            "keep one of integer, one-of and boolean",
        );
    }
    Some(Settable {
        required,
        secret,
        kind,
    })
}

/// `true` or `[min, max]`.
fn bounds(field: &Field<'_>, problems: &mut Collector<'_>) -> Option<Kind> {
    if field.raw_text().is_some() {
        let any = Kind::Integer {
            min: i64::MIN,
            max: i64::MAX,
        };
        return field.boolean(problems)?.then_some(any);
    }
    let items = field.items(problems);
    let numbers: Option<Vec<i64>> = items
        .iter()
        .map(|f| f.parsed(problems, "a whole number", |t| t.parse().ok()))
        .collect();
    match numbers?.as_slice() {
        [min, max] if min <= max => Some(Kind::Integer {
            min: *min,
            max: *max,
        }),
        _ => {
            field.wrong(problems, "expected [least, greatest]", "");
            None
        }
    }
}
