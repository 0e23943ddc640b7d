//! Who is let in, and what the device is told when it is not.

use super::super::{Actor, FarEnd, Rig, Subject, credentials, report, soon};
use super::hear;
use crate::contract::{Event, Known, Link, Secret};
use crate::failure::Failure;

/// Promise 2.
pub async fn up_means_that_the_credentials_were_taken<S: Subject>(rig: Rig<S>) {
    let Rig { mut link, way, .. } = rig;
    way.freeze();
    link.connect(&credentials(1), Known::default());
    let early = tokio::time::timeout(std::time::Duration::from_millis(20), link.next()).await;
    assert!(early.is_err(), "nobody can have taken anything: {early:?}");
    way.mend();
    Actor::connected(&mut link, &way).await;
}

/// The difference decides over an identity: only a refusal may touch it.
pub async fn refused_credentials_are_not_mistaken_for_an_absent_fleet<S: Subject>(rig: Rig<S>) {
    let Rig { mut link, way, .. } = rig;
    for _ in 0..2 {
        link.connect(&credentials(2), Known::default());
        let event = soon("a refusal", link.next()).await;
        assert!(
            matches!(event, Event::Down(Failure::Refused { .. })),
            "{event:?}"
        );
        way.cut();
        link.connect(&credentials(1), Known::default());
        let event = soon("a failure", link.next()).await;
        assert!(
            matches!(event, Event::Down(Failure::Unreachable(_))),
            "{event:?}"
        );
        way.mend();
    }
    link.connect(&credentials(1), Known::default());
    assert!(matches!(
        soon("a connection", link.next()).await,
        Event::Up { .. }
    ));
}

/// Two-phase rotation: both are good, the new one takes over, the old one ends.
pub async fn rotated_credentials_take_over_while_connected<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut far,
        way,
        ..
    } = rig;
    assert!(matches!(credentials(1).secret, Secret::Api(_)));
    let mut actor = Actor::new(&mut link, &way, credentials(1));
    actor.pending = Some(report(1));
    actor
        .until("a report with the old key", |actor| actor.pending.is_none())
        .await;

    far.admit(&credentials(2)).await;
    let mut actor = Actor::new(&mut link, &way, credentials(2));
    actor.pending = Some(report(2));
    actor
        .until("a connection with the new key", |actor| actor.up)
        .await;
    far.expel(&credentials(1)).await;
    actor
        .until("a report with the new key", |actor| actor.pending.is_none())
        .await;
    assert_eq!(hear(&mut far, 2).await, [report(1), report(2)]);

    link.connect(&credentials(1), Known::default());
    let event = soon("a refusal", link.next()).await;
    assert!(
        matches!(event, Event::Down(Failure::Refused { .. })),
        "{event:?}"
    );
}
