//! `healthcheck`.
//!
//! Below `x-lightship` it knows two tests that need no program in the image: `http` and `tcp`.

use super::field::{EXTENSION, Field, Fields};
use super::quantity::{DURATION, duration_ms};
use crate::container::{Health, HealthTest};
use crate::problem::Collector;

pub(crate) fn read(field: &Field<'_>, problems: &mut Collector<'_>) -> Option<Health> {
    let mut fields = field.fields(problems)?;
    let disabled = fields.take("disable").and_then(|f| f.boolean(problems)) == Some(true);
    let test = fields.take("test");
    let own = fields.take(EXTENSION);
    let given = test.is_some() || own.is_some();
    let test = match (test, own) {
        (Some(test), Some(_)) => {
            test.wrong(
                problems,
                "a health check has one test",
                "keep test or x-lightship",
            );
            None
        }
        (Some(test), None) => read_test(&test, problems),
        (None, Some(own)) => read_own(&own, problems),
        (None, None) => None,
    };
    if !given && !disabled {
        field.wrong(problems, "has no test", "add test, or disable: true");
    }
    let mut health = Health {
        test: if disabled {
            HealthTest::None
        } else {
            test.unwrap_or(HealthTest::None)
        },
        interval_ms: 30_000,
        timeout_ms: 30_000,
        start_period_ms: 0,
        start_interval_ms: 5_000,
        retries: 3,
    };
    times(&mut fields, &mut health, problems);
    if let Some(field) = fields.take("retries") {
        let retries = field.parsed(problems, "a number from 1", |t| {
            t.parse().ok().filter(|n| *n > 0)
        });
        health.retries = retries.unwrap_or(health.retries);
    }
    fields.finish(&[], problems);
    Some(health)
}

fn times(fields: &mut Fields<'_>, health: &mut Health, problems: &mut Collector<'_>) {
    let times = [
        ("interval", &mut health.interval_ms, 1),
        ("timeout", &mut health.timeout_ms, 1),
        ("start_period", &mut health.start_period_ms, 0),
        ("start_interval", &mut health.start_interval_ms, 1),
    ];
    for (name, value, least) in times {
        if let Some(field) = fields.take(name) {
            let time = field.parsed(problems, DURATION, |t| {
                duration_ms(t).filter(|ms| *ms >= least)
            });
            *value = time.unwrap_or(*value);
        }
    }
}

fn read_test(field: &Field<'_>, problems: &mut Collector<'_>) -> Option<HealthTest> {
    if field.raw_text().is_some() {
        return field
            .text(problems)
            .map(|line| HealthTest::Shell(line.to_owned()));
    }
    let items = field.items(problems);
    if !field.is_sequence() {
        return None;
    }
    let words: Option<Vec<String>> = items
        .iter()
        .map(|item| item.text(problems).map(str::to_owned))
        .collect();
    let words = words?;
    let (first, rest) = words
        .split_first()
        .map_or(("", &[][..]), |(f, r)| (f.as_str(), r));
    match (first, rest) {
        ("NONE", []) => Some(HealthTest::None),
        ("CMD", [_, ..]) => Some(HealthTest::Exec(rest.to_vec())),
        ("CMD-SHELL", [line]) => Some(HealthTest::Shell(line.clone())),
        _ => {
            let help = r#"write ["CMD", program, ...], ["CMD-SHELL", line] or ["NONE"]"#;
            field.wrong(problems, "not a test", help);
            None
        }
    }
}

fn read_own(field: &Field<'_>, problems: &mut Collector<'_>) -> Option<HealthTest> {
    let mut fields = field.fields(problems)?;
    let http = fields.take("http");
    let tcp = fields.take("tcp");
    fields.finish(&[], problems);
    match (http, tcp) {
        (Some(http), None) => read_http(&http, problems),
        (None, Some(tcp)) => port(&tcp, problems).map(|port| HealthTest::Tcp { port }),
        (Some(_), Some(_)) | (None, None) => {
            field.wrong(problems, "a health check has one test", "write http or tcp");
            None
        }
    }
}

fn read_http(field: &Field<'_>, problems: &mut Collector<'_>) -> Option<HealthTest> {
    let mut fields = field.fields(problems)?;
    let port_field = fields.demand("port", problems);
    let path = match fields.take("path") {
        Some(field) => field.parsed(problems, "a path from /, without blanks", |t| {
            let clean = t.starts_with('/') && t.chars().all(|c| c.is_ascii_graphic());
            clean.then(|| t.to_owned())
        })?,
        None => "/".to_owned(),
    };
    fields.finish(&[], problems);
    let port = port(&port_field?, problems)?;
    Some(HealthTest::Http { port, path })
}

fn port(field: &Field<'_>, problems: &mut Collector<'_>) -> Option<u16> {
    field.parsed(problems, "a port from 1 to 65535", |t| {
        t.parse().ok().filter(|p| *p > 0)
    })
}
