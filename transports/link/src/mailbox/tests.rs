extern crate std;

use embassy_futures::block_on;
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use lightship_core::id::{ApiKey, Uuid};
use lightship_core::wire::{self, Command, Down, NewKey, Order as Todo};

use super::*;
use crate::contract::Secret;

fn credentials() -> Credentials {
    Credentials {
        uuid: Uuid::from_random([7; 16]),
        secret: Secret::Api(ApiKey([8; 32])),
    }
}

fn proposal() -> Up {
    Up::ProposeKey(NewKey::Api(ApiKey([9; 32])))
}

fn command(id: u64) -> Down<'static> {
    Down::Command(Command {
        id,
        order: Todo::Report,
    })
}

fn with_mailbox(test: impl AsyncFnOnce(Handle<'_, NoopRawMutex>, Port<'_, NoopRawMutex>)) {
    let mut memory = Packet::new();
    let mut mailbox = Mailbox::new(&mut memory);
    let (handle, port) = mailbox.split();
    block_on(test(handle, port));
}

fn is_pending(future: impl Future) -> bool {
    block_on(async {
        let ready = async {};
        // The first is polled first, so the second wins only when the first waits.
        matches!(select(future, ready).await, Either::Second(()))
    })
}

#[test]
fn a_message_is_handled_when_the_next_event_is_asked_for() {
    with_mailbox(async |mut link, mut port| {
        let mut out = [0; 64];
        let bytes = wire::encode(&command(1), &mut out).unwrap();
        port.deliver(bytes).await.unwrap();
        assert_eq!(link.next().await, Event::Message(command(1)));
        assert!(!port.is_handled());
        assert!(is_pending(link.next()));
        assert!(port.is_handled());
        port.handled().await;
    });
}

#[test]
fn a_dropped_wait_loses_no_message() {
    with_mailbox(async |mut link, mut port| {
        assert!(is_pending(link.next()));
        let mut out = [0; 64];
        let bytes = wire::encode(&command(1), &mut out).unwrap();
        port.deliver(bytes).await.unwrap();
        assert_eq!(link.next().await, Event::Message(command(1)));
    });
}

#[test]
fn a_runner_does_not_go_on_while_nobody_takes_its_message() {
    with_mailbox(async |mut link, mut port| {
        let mut out = [0; 64];
        let bytes = wire::encode(&command(1), &mut out).unwrap();
        port.deliver(bytes).await.unwrap();
        assert!(is_pending(port.deliver(bytes)));
        assert_eq!(link.next().await, Event::Message(command(1)));
        assert!(is_pending(port.deliver(bytes)));
    });
}

#[test]
fn a_second_message_is_not_taken_before_the_first_has_an_outcome() {
    with_mailbox(async |mut link, mut port| {
        link.send(proposal()).unwrap();
        assert_eq!(link.send(proposal()), Err(NotTaken));
        assert_eq!(port.outgoing().await, proposal());
        assert_eq!(link.send(proposal()), Err(NotTaken));
        port.sent().await;
        assert_eq!(link.next().await, Event::Sent);
        link.send(proposal()).unwrap();
    });
}

#[test]
fn a_message_that_waited_when_the_connection_went_down_is_told_of_first() {
    with_mailbox(async |mut link, mut port| {
        link.connect(&credentials(), Known::default());
        assert!(matches!(port.order().await, Wish::Connect(..)));
        link.send(proposal()).unwrap();
        let failure = Failure::Unreachable(Unreachable::Connect);
        let (_, ()) = embassy_futures::join::join(port.down(failure), async {
            assert_eq!(link.next().await, Event::Unsent(failure));
            assert_eq!(link.next().await, Event::Down(failure));
        })
        .await;
    });
}

#[test]
fn news_of_a_connection_that_was_given_up_is_not_shown() {
    with_mailbox(async |mut link, mut port| {
        link.connect(&credentials(), Known::default());
        port.order().await;
        port.down(Failure::TakenOver).await;
        link.connect(&credentials(), Known::default());
        assert!(is_pending(link.next()));
        port.order().await;
        port.up(false).await;
        assert_eq!(link.next().await, Event::Up { resumed: false });
    });
}

#[test]
fn without_a_connection_a_message_is_not_sent_and_its_sender_is_told() {
    with_mailbox(async |mut link, mut port| {
        link.send(proposal()).unwrap();
        assert!(is_pending(port.idle()));
        let failure = Failure::Unreachable(Unreachable::NotConnected);
        assert_eq!(link.next().await, Event::Unsent(failure));
        link.disconnect();
        assert!(is_pending(port.idle()));
        assert!(is_pending(port.idle()));
    });
}

#[test]
fn what_cannot_be_read_is_rejected_by_name_on_both_sides() {
    with_mailbox(async |mut link, mut port| {
        for (bytes, rejection) in [
            (&[][..], Rejection::Empty),
            (&[9, 1], Rejection::UnknownVersion),
            (&[1, 0xff], Rejection::Undecodable),
            (&[0; MESSAGE_BYTES + 1], Rejection::TooLarge),
        ] {
            assert_eq!(port.deliver(bytes).await, Err(rejection));
            assert_eq!(link.next().await, Event::Rejected(rejection));
            assert!(is_pending(link.next()));
        }
    });
}
