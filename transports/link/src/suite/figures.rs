//! What a transport costs in bytes, for `cargo xtask bench transports`.
//!
//! Bytes are counted on the [`Way`] between a device and its fleet, both ways: what TCP carries, or what a line carries.
//! The headers of TCP and IP are not in it; neither are they for the peer, which sends the same as JSON over a TLS connection of its own.

mod peer;
mod sample;

use std::format;
use std::string::String;
use std::time::Duration;
use std::vec::Vec;

use lightship_core::id::ProvisioningKey;
use lightship_core::wire::Down;

use super::{FarEnd, Rig, Subject, Way, credentials, report, soon};
use crate::contract::{Credentials, Event, Known, Link, Secret};

/// Nothing has passed for so long: an exchange is over.
const QUIET: Duration = Duration::from_millis(80);
/// Signs of life that are counted.
const SIGNS: u32 = 3;
/// How often the peer asks in an hour, as often as a device over MQTT gives a sign of life.
const POLLS_PER_HOUR: f64 = 4.0;

/// One transport.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Its name.
    pub name: &'static str,
    /// Signs of life in an hour, at the settings that a device has when nothing else is configured.
    pub signs_per_hour: f64,
    /// What becomes of a registration.
    pub registering: Registering,
    /// Bytes of one target change, where the design allows so many.
    pub target_budget: Option<u32>,
    /// Bytes that each sign of life takes beside what is counted, and those allowed in a month of 30 days.
    pub idle_month: Option<(u32, u32)>,
}

/// How a device hears that it is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registering {
    /// The answer to its request says so.
    Answered,
    /// A message says so, once its key was let in.
    Told,
}

/// Lines of JSON as `cargo xtask bench` reads them; none when a tool is missing.
pub async fn rows<S: Subject>(plan: &Plan) -> Vec<String> {
    let Some(mut rig) = S::start().await else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    let mut row = |what: &str, ours: f64, peer: f64, budget: Option<u32>| {
        let budget = budget.map_or(String::new(), |bytes| format!(r#", "budget": {bytes}"#));
        rows.push(format!(
            r#"{{"name": "{}: {what}", "unit": "B", "ours": {ours:.0}, "peer": {peer:.0}, "peer_name": "JSON over a new TLS connection"{budget}}}"#,
            plan.name
        ));
    };
    let registration = register(&mut rig, plan).await;
    row(
        "registration",
        registration,
        peer::registration().await,
        None,
    );
    let connection = connect(&mut rig).await;
    let said = say_report(&mut rig).await;
    row("report", said, peer::report().await, None);
    let target = change_target(&mut rig).await;
    row(
        "target change",
        target,
        peer::target().await,
        plan.target_budget,
    );
    let sign = sign_of_life(&mut rig).await;
    let poll = peer::poll().await;
    row(
        "idle for an hour",
        sign * plan.signs_per_hour,
        poll * POLLS_PER_HOUR,
        None,
    );
    if let Some((around, budget)) = plan.idle_month {
        let hours = 30.0 * 24.0;
        let month = hours * plan.signs_per_hour * (sign + f64::from(around));
        let peer = hours * POLLS_PER_HOUR * poll;
        row(
            "idle for a month, with all headers",
            month,
            peer,
            Some(budget),
        );
    }
    row("connection", connection, poll, None);
    rows
}

/// Lets a device take what comes, until nothing passes any more.
async fn quiet(link: &mut impl Link, way: &Way) {
    let over = async {
        let mut passed = way.passed();
        loop {
            tokio::time::sleep(QUIET).await;
            match way.passed() {
                now if now == passed => break,
                now => passed = now,
            }
        }
    };
    let taking = async {
        loop {
            link.next().await;
        }
    };
    soon("quiet", async {
        tokio::select! {
            () = over => {}
            () = taking => {}
        }
    })
    .await;
}

async fn until(link: &mut impl Link, what: &str, is_it: impl Fn(&Event<'_>) -> bool) {
    soon(what, async { while !is_it(&link.next().await) {} }).await;
}

async fn counted<S: Subject>(rig: &mut Rig<S>, before: u64) -> f64 {
    quiet(&mut rig.link, &rig.way).await;
    (rig.way.passed() - before) as f64
}

async fn register<S: Subject>(rig: &mut Rig<S>, plan: &Plan) -> f64 {
    let enrolling = Credentials {
        uuid: credentials(1).uuid,
        secret: Secret::Provisioning(ProvisioningKey([2; 32])),
    };
    let is_told = plan.registering == Registering::Told;
    if is_told {
        rig.far.admit(&enrolling).await;
    }
    let before = rig.way.passed();
    rig.link.connect(&enrolling, Known::default());
    until(&mut rig.link, "up", |event| {
        matches!(event, Event::Up { .. })
    })
    .await;
    rig.link
        .send(sample::register())
        .expect("nothing is on its way");
    until(&mut rig.link, "sent", |event| *event == Event::Sent).await;
    if is_told {
        rig.far
            .say(&Down::Registered(sample::registered()), 0)
            .await;
    }
    until(&mut rig.link, "registered", |event| {
        matches!(event, Event::Message(Down::Registered(_)))
    })
    .await;
    let bytes = counted(rig, before).await;
    rig.link.disconnect();
    until(&mut rig.link, "down", |event| {
        matches!(event, Event::Down(_))
    })
    .await;
    bytes
}

async fn connect<S: Subject>(rig: &mut Rig<S>) -> f64 {
    rig.far.admit(&credentials(1)).await;
    let before = rig.way.passed();
    rig.link.connect(&credentials(1), Known::default());
    until(&mut rig.link, "up", |event| {
        matches!(event, Event::Up { .. })
    })
    .await;
    counted(rig, before).await
}

/// The second one: the first may open a connection of its own.
async fn say_report<S: Subject>(rig: &mut Rig<S>) -> f64 {
    let mut bytes = 0.0;
    for sequence in 0..2 {
        let before = rig.way.passed();
        rig.link
            .send(report(sequence))
            .expect("nothing is on its way");
        until(&mut rig.link, "sent", |event| *event == Event::Sent).await;
        bytes = counted(rig, before).await;
    }
    bytes
}

async fn change_target<S: Subject>(rig: &mut Rig<S>) -> f64 {
    let (assignment, release) = sample::documents();
    let before = rig.way.passed();
    let target = super::target(&assignment, &release);
    rig.far.say(&target, 7).await;
    until(&mut rig.link, "the target", |event| {
        matches!(event, Event::Message(Down::Target(_)))
    })
    .await;
    counted(rig, before).await
}

/// What one takes, of several in a row.
async fn sign_of_life<S: Subject>(rig: &mut Rig<S>) -> f64 {
    let mut before = 0;
    // What is left of the last exchange is not counted.
    for sign in 0..=SIGNS {
        let passed = rig.way.passed();
        if sign == 1 {
            before = passed;
        }
        let change = async {
            while rig.way.passed() == passed {
                tokio::select! {
                    _ = rig.link.next() => {}
                    () = tokio::time::sleep(Duration::from_millis(5)) => {}
                }
            }
        };
        soon("a sign of life", change).await;
        quiet(&mut rig.link, &rig.way).await;
        if sign == 0 {
            before = rig.way.passed();
        }
    }
    (rig.way.passed() - before) as f64 / f64::from(SIGNS)
}
