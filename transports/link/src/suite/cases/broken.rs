//! Messages on a way that does not work, and far ends that do not.

use std::time::Duration;
use std::vec::Vec;

use embassy_futures::join::join_array;

use super::super::{
    Actor, FarEnd, Rig, Subject, begin, command, credentials, report, soon, target,
};
use super::{hear, sequences};
use crate::contract::{Event, Link};
use crate::failure::{Failure, Misconduct};

/// Promise 4.
pub async fn a_message_that_was_not_handled_comes_again<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut far,
        way,
        ..
    } = rig;
    let mut actor = Actor::connected(&mut link, &way).await;
    far.say(&command(1), 0).await;
    actor.until("the command", |actor| actor.acted == [1]).await;
    // The power went before the command was handled: nothing of it was stored.
    way.cut();
    actor.acted.clear();
    while actor.up {
        soon("the connection is gone", actor.step()).await;
    }
    actor.acted.clear();
    way.mend();
    actor
        .until("the command again", |actor| actor.acted == [1])
        .await;
}

/// Devices that are cut at the same time, each with a fleet of its own: most of the time is spent waiting for the cut to be noticed.
const LANES: usize = 16;

/// Promises 3, 4 and 5, at every step of the protocol: at each byte of a conversation, from the first of the connection to the last of its end.
pub async fn a_connection_cut_at_any_byte_loses_nothing<S: Subject>(rig: Rig<S>) {
    let mut rigs = std::vec![rig];
    while rigs.len() < LANES {
        rigs.push(begin::<S>().await.expect("one has started already"));
    }
    let mut rigs = rigs.into_iter();
    let lanes: [_; LANES] = core::array::from_fn(|lane| {
        let rig = rigs.next().expect("there are as many");
        cut_in_a_lane::<S>(lane as u64, rig)
    });
    let cuts: u64 = join_array(lanes).await.iter().sum();
    std::println!("cut at {cuts} places");
}

/// Cuts at every [`LANES`]th place from the `lane`th on; how many they were.
async fn cut_in_a_lane<S: Subject>(lane: u64, rig: Rig<S>) -> u64 {
    let Rig {
        mut link,
        mut far,
        way,
        ..
    } = rig;
    // A fleet cannot keep a command for a device that it never met.
    let mut actor = Actor::connected(&mut link, &way).await;
    actor.leave().await;
    let mut heard = Vec::new();
    round(&mut actor, &mut far, 0, &mut heard).await;
    let before = way.passed();
    round(&mut actor, &mut far, 1, &mut heard).await;
    let bytes = way.passed() - before;
    assert!(bytes > 50, "a round is more than {bytes} bytes");

    let places = S::CUTS.min(bytes);
    let mut rounds: u32 = 2;
    for place in (lane..places).step_by(LANES) {
        way.cut_after(place * bytes / places);
        round(&mut actor, &mut far, rounds, &mut heard).await;
        way.mend();
        rounds += 1;
    }
    assert_eq!(
        actor.acted,
        (1..=u64::from(rounds)).collect::<Vec<_>>(),
        "each command once, in order"
    );
    heard.dedup();
    assert_eq!(
        heard,
        (0..rounds).collect::<Vec<_>>(),
        "each report, repeated at most in its place"
    );
    u64::from(rounds - 2)
}

/// Connects, sends one report, takes one command, leaves.
async fn round<L: Link>(
    actor: &mut Actor<'_, L>,
    far: &mut impl FarEnd,
    number: u32,
    heard: &mut Vec<u32>,
) {
    let id = u64::from(number) + 1;
    far.say(&command(id), 0).await;
    actor.pending = Some(report(number));
    let done = |actor: &Actor<'_, L>| actor.pending.is_none() && actor.acted.last() == Some(&id);
    actor.until("a round", done).await;
    heard.extend(sequences(&hear(far, 1).await));
    actor.leave().await;
}

/// Promises 3, 5 and 6, where the way itself swaps and repeats what it carries.
pub async fn a_way_that_swaps_and_repeats_changes_nothing<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut far,
        way,
        ..
    } = rig;
    let mut actor = Actor::connected(&mut link, &way).await;
    let mut heard = Vec::new();
    for number in 0..30 {
        way.shuffle(u64::from(number) + 1);
        let id = u64::from(number) + 1;
        far.say(&command(id), 0).await;
        actor.pending = Some(report(number));
        let done =
            |actor: &Actor<'_, S::Link>| actor.pending.is_none() && actor.acted.last() == Some(&id);
        actor.until("both", done).await;
        heard.extend(sequences(&hear(&mut far, 1).await));
    }
    assert_eq!(actor.acted, (1..=30).collect::<Vec<_>>());
    // A machine that is too busy to answer in time costs a connection, and a connection may cost a repetition.
    if actor.connections > 1 {
        heard.dedup();
    }
    assert_eq!(heard, (0..30).collect::<Vec<_>>(), "each once");
}

/// Promises 4 to 6: a transport shows what a fleet says as it says it; what is old the messages themselves tell.
pub async fn a_fleet_that_speaks_out_of_order_is_heard_as_it_speaks<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut far,
        way,
        ..
    } = rig;
    let mut actor = Actor::new(&mut link, &way, credentials(1));
    far.say(&target(b"newer", b"9"), 9).await;
    actor
        .until("the target", |actor| !actor.targets.is_empty())
        .await;
    actor.leave().await;
    for id in [2, 1, 3] {
        far.say(&command(id), 0).await;
    }
    far.say(&target(b"older", b"8"), 8).await;
    let is_last = |actor: &Actor<'_, S::Link>, name: &[u8]| {
        actor.targets.last().is_some_and(|(last, _)| last == name)
    };
    actor
        .until("all of it", |actor| {
            actor.acted.last() == Some(&3) && is_last(actor, b"older")
        })
        .await;
    assert_eq!(actor.acted, [2, 3], "the first was older than the second");
    far.say(&target(b"newest", b"10"), 10).await;
    actor
        .until("the newest", |actor| is_last(actor, b"newest"))
        .await;
    assert_eq!(actor.connections, 2, "nothing of it was misconduct");
}

/// The other side is gone and nothing says so.
pub async fn a_half_open_connection_is_noticed<S: Subject>(rig: Rig<S>) {
    let Rig { mut link, way, .. } = rig;
    let mut actor = Actor::connected(&mut link, &way).await;
    way.freeze();
    while actor.up {
        soon("the silence is noticed", actor.step()).await;
    }
    let last = actor.failures.last();
    assert!(matches!(last, Some(Failure::Unreachable(_))), "{last:?}");
    // And with a message on its way, its sender is told.
    actor.pending = Some(report(1));
    actor.connect();
    actor.push();
    let failures = actor.failures.len();
    while actor.failures.len() < failures + 2 {
        soon("the sender is told", actor.step()).await;
    }
    way.mend();
    actor
        .until("the report is sent", |actor| actor.pending.is_none())
        .await;
}

/// A few kilobytes a second are enough.
pub async fn a_slow_way_still_delivers<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut far,
        way,
        ..
    } = rig;
    way.slow();
    far.say(&target(&[1; 1000], &[2; 3000]), 1).await;
    let mut actor = Actor::new(&mut link, &way, credentials(1));
    actor.pending = Some(report(1));
    let done = |actor: &Actor<'_, S::Link>| actor.pending.is_none() && !actor.targets.is_empty();
    actor.until("both messages", done).await;
    assert_eq!(
        actor.connections, 1,
        "nothing was given up: {:?}",
        actor.failures
    );
}

/// Promise 8.
pub async fn a_device_that_takes_nothing_holds_the_fleet_back<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut far,
        way,
        ..
    } = rig;
    let mut actor = Actor::connected(&mut link, &way).await;
    for id in 1..=50 {
        far.say(&command(id), 0).await;
    }
    // Long enough for all of them to arrive if nothing held them back.
    tokio::time::sleep(Duration::from_millis(150)).await;
    actor
        .until("the commands", |actor| actor.acted.len() >= 50)
        .await;
    assert_eq!(actor.acted, (1..=50).collect::<Vec<_>>());
    assert_eq!(
        actor.connections, 1,
        "to be held back costs no connection: {:?}",
        actor.failures
    );
}

/// Promise 9.
pub async fn rubbish_is_named_and_the_link_recovers<S: Subject>(rig: Rig<S>) {
    let Rig {
        mut link,
        mut far,
        way,
        ..
    } = rig;
    Actor::new(&mut link, &way, credentials(1))
        .until("the connection", |actor| actor.up)
        .await;
    for (position, rubbish) in S::rubbish().iter().enumerate() {
        far.say_raw(rubbish).await;
        loop {
            match soon("the rubbish is named", link.next()).await {
                Event::Rejected(_) => break,
                Event::Down(Failure::Misbehaved(Misconduct::Garbage | Misconduct::Length)) => break,
                Event::Message(_) | Event::Up { .. } => {}
                other => panic!("rubbish {position} became {other:?}"),
            }
        }
        let id = position as u64 + 1;
        far.say(&command(id), 0).await;
        let mut actor = Actor::new(&mut link, &way, credentials(1));
        actor
            .acted
            .extend((position > 0).then_some(position as u64));
        let what = std::format!("the command after rubbish {position}");
        actor
            .until(&what, |actor| actor.acted.last() == Some(&id))
            .await;
    }
}
