//! Messages on a way that works.

use std::vec;
use std::vec::Vec;

use lightship_core::limits::MESSAGE_BYTES;

use super::super::{Actor, FarEnd, Rig, Subject, command, credentials, report, soon, target};
use super::hear;
use crate::contract::{Event, Link, NotTaken};
use crate::failure::{Failure, Unreachable};

/// Messages of each direction.
const COUNT: u32 = 20;
/// What a target takes beside its documents: version byte, variant, two lengths.
const AROUND: usize = 6;

/// Promises 3 and 6.
pub async fn messages_of_a_device_arrive_in_order<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut far,
        way,
        ..
    } = rig;
    let mut actor = Actor::new(&mut link, &way, credentials(1));
    for sequence in 0..COUNT {
        actor.pending = Some(report(sequence));
        actor.push();
        assert_eq!(actor.link.send(report(99)), Err(NotTaken));
        actor
            .until("the report is sent", |actor| actor.pending.is_none())
            .await;
        assert_eq!(hear(&mut far, 1).await, [report(sequence)]);
    }
    assert!(actor.connections <= 2);
}

/// Promises 5 and 6: a way that works repeats nothing.
pub async fn messages_of_a_fleet_arrive_in_order_and_once<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut far,
        way,
        ..
    } = rig;
    let mut actor = Actor::connected(&mut link, &way).await;
    for id in 1..=u64::from(COUNT) {
        far.say(&command(id), 0).await;
    }
    let last = u64::from(COUNT);
    actor
        .until("the last command", |actor| {
            actor.acted.last() == Some(&last)
        })
        .await;
    let all: Vec<u64> = (1..=last).collect();
    assert_eq!(actor.acted, all);
}

/// The size that the core promises to take, to the byte.
pub async fn the_largest_target_arrives_whole<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut far,
        way,
        ..
    } = rig;
    let (assignment, release) = (vec![0xa5; 1000], vec![0x5a; MESSAGE_BYTES - AROUND - 1000]);
    far.say(&target(&assignment, &release), 7).await;
    let mut actor = Actor::new(&mut link, &way, credentials(1));
    actor
        .until("the target", |actor| !actor.targets.is_empty())
        .await;
    assert!(actor.targets == [(assignment, release)], "another target");

    far.say(&target(b"a", b"r"), 8).await;
    actor
        .until("the next target", |actor| actor.targets.len() > 1)
        .await;
    assert_eq!(actor.targets.pop(), Some((b"a".to_vec(), b"r".to_vec())));
}

/// Promise 3, where nothing can be promised.
pub async fn without_a_connection_the_sender_is_told<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut far,
        way,
        ..
    } = rig;
    link.send(report(1)).expect("nothing is on its way");
    let event = soon("an outcome", link.next()).await;
    assert_eq!(
        event,
        Event::Unsent(Failure::Unreachable(Unreachable::NotConnected))
    );
    let mut actor = Actor::new(&mut link, &way, credentials(1));
    actor.pending = Some(report(2));
    actor
        .until("the report is sent", |actor| actor.pending.is_none())
        .await;
    actor.leave().await;
    assert_eq!(actor.failures.last(), Some(&Failure::Closed));
    assert_eq!(hear(&mut far, 1).await, [report(2)]);
}

/// A session outlives its connection.
pub async fn what_was_said_while_away_is_heard_on_return<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut far,
        way,
        ..
    } = rig;
    let mut actor = Actor::new(&mut link, &way, credentials(1));
    far.say(&target(b"one", b"1"), 1).await;
    actor
        .until("the target", |actor| !actor.targets.is_empty())
        .await;
    way.cut();
    while actor.up {
        soon("the connection is gone", actor.step()).await;
    }
    far.say(&command(1), 0).await;
    far.say(&target(b"two", b"2"), 2).await;
    way.mend();
    let there = |actor: &Actor<'_, S::Link>| {
        actor.acted == [1] && actor.targets.last().is_some_and(|(name, _)| name == b"two")
    };
    actor.until("both", there).await;
}

/// Promise 7.
pub async fn a_wait_that_is_dropped_loses_nothing<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut far,
        way,
        ..
    } = rig;
    let mut actor = Actor::connected(&mut link, &way).await;
    let last = u64::from(COUNT);
    for id in 1..=last {
        far.say(&command(id), 0).await;
    }
    soon("all commands", async {
        while actor.acted.last() != Some(&last) {
            assert!(actor.up, "the connection broke: {:?}", actor.failures);
            // Every wait is given up after the shortest time there is, and asked for again.
            tokio::select! {
                biased;
                () = actor.step() => {}
                () = tokio::task::yield_now() => {}
            }
        }
    })
    .await;
    let all: Vec<u64> = (1..=last).collect();
    assert_eq!(actor.acted, all);
}
