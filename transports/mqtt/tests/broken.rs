//! Brokers that restart, lie and babble, and thieves of names.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod broker;
mod device;

use std::time::Duration;

use broker::Broker;
use broker::fleet::{Fleet, login};
use broker::probe;
use device::{Half, Host, Microcontroller, device};
use lightship_core::id::{ApiKey, ProvisioningKey, Uuid};
use lightship_link::suite::{Actor, FarEnd, command, credentials, report, run, soon, target};
use lightship_link::{Credentials, Event, Failure, Known, Link, Misconduct, Secret, Unreachable};
use lightship_mqtt::host::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Makes a test of each case for both halves.
macro_rules! of_both_halves {
    ($($name:ident)*) => {
        mod of_a_host {
            $(#[test] fn $name() { super::$name::<super::Host>(); })*
        }
        mod of_a_microcontroller {
            $(#[test] fn $name() { super::$name::<super::Microcontroller>(); })*
        }
    };
}

of_both_halves! {
    a_broker_that_restarts_has_kept_what_it_could_not_deliver
    a_broker_that_stops_while_connected_is_unreachable_and_found_again
    a_stolen_name_ends_the_connection_and_can_be_taken_back
    a_session_is_resumed_where_the_last_connection_left_it
    what_was_said_during_a_power_cut_is_heard_after_it
    presence_says_who_is_there_and_who_is_gone
    a_device_may_neither_speak_nor_listen_as_another
    a_provisioning_key_is_another_password
    refusals_and_requests_for_patience_are_told_apart
    the_last_words_of_a_broker_are_understood
    a_broker_that_babbles_is_misconduct
    a_packet_that_is_longer_than_agreed_is_refused_by_its_length
    a_topic_that_was_not_subscribed_to_ends_the_connection
}

/// What a device makes of a broker that answers its first packet with these bytes, and then goes on with `more` for ever.
async fn meet<H: Half>(answer: &'static [u8], more: &'static [u8]) -> Failure {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut greeting = [0; 1024];
        let _ = stream.read(&mut greeting).await;
        let _ = stream.write_all(answer).await;
        while !more.is_empty() && stream.write_all(more).await.is_ok() {}
        let _ = stream.read(&mut greeting).await;
        core::future::pending::<()>().await;
    });
    let (mut link, _) = H::start(broker);
    link.connect(&credentials(1), Known::default());
    loop {
        match soon("an end", link.next()).await {
            Event::Down(failure) => return failure,
            Event::Up { .. } | Event::Rejected(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A CONNACK without properties.
const WELCOME: &[u8] = &[0x20, 3, 0, 0, 0];

fn a_broker_that_restarts_has_kept_what_it_could_not_deliver<H: Half>() {
    run(async {
        let Some(broker) = Broker::start("persistence true").await else {
            return;
        };
        let mut fleet = Fleet::start(broker).await;
        fleet.admit(&credentials(1)).await;
        let (mut link, _) = H::start(fleet.broker.address);
        let way = lightship_link::suite::Way::line().0;
        let mut actor = Actor::new(&mut link, &way, credentials(1));
        fleet.say(&target(b"a", b"r"), 1).await;
        actor
            .until("the target", |actor| !actor.targets.is_empty())
            .await;
        actor.leave().await;
        fleet.say(&command(1), 0).await;
        fleet.broker.restart().await;
        let there = |actor: &Actor<'_, _>| actor.acted == [1] && actor.targets.len() == 2;
        actor.until("both after the restart", there).await;
        actor.pending = Some(report(1));
        actor
            .until("a report", |actor| actor.pending.is_none())
            .await;
    });
}

fn a_broker_that_stops_while_connected_is_unreachable_and_found_again<H: Half>() {
    run(async {
        let Some(broker) = Broker::start("").await else {
            return;
        };
        let mut fleet = Fleet::start(broker).await;
        fleet.admit(&credentials(1)).await;
        let (mut link, _) = H::start(fleet.broker.address);
        let way = lightship_link::suite::Way::line().0;
        let mut actor = Actor::new(&mut link, &way, credentials(1));
        actor.until("the connection", |actor| actor.up).await;
        let (restarted, ()) = tokio::join!(fleet.broker.restart(), async {
            while actor.up {
                soon("the connection is gone", actor.step()).await;
            }
        });
        let () = restarted;
        assert!(
            matches!(actor.failures[..], [Failure::Unreachable(_)]),
            "{:?}",
            actor.failures
        );
        actor.pending = Some(report(1));
        actor
            .until("a report", |actor| actor.pending.is_none())
            .await;
    });
}

fn a_stolen_name_ends_the_connection_and_can_be_taken_back<H: Half>() {
    run(async {
        let Some(broker) = Broker::start("").await else {
            return;
        };
        let mut fleet = Fleet::start(broker).await;
        fleet.admit(&credentials(1)).await;
        let (mut link, _) = H::start(fleet.broker.address);
        link.connect(&credentials(1), Known::default());
        assert!(matches!(soon("up", link.next()).await, Event::Up { .. }));
        let (user, password) = login(&credentials(1));
        let mut thief = tokio::net::TcpStream::connect(fleet.broker.address)
            .await
            .unwrap();
        thief
            .write_all(&probe::connect(&user, &user, &password))
            .await
            .unwrap();
        // mosquitto 2.0 closes the connection without a word; other brokers say why.
        let event = soon("an end", link.next()).await;
        let broken = Failure::Unreachable(Unreachable::Broken);
        assert!(
            event == Event::Down(Failure::TakenOver) || event == Event::Down(broken),
            "{event:?}"
        );
        link.connect(&credentials(1), Known::default());
        assert!(matches!(soon("up", link.next()).await, Event::Up { .. }));
        let mut answer = Vec::new();
        let _ = thief.read_to_end(&mut answer).await;
    });
}

fn a_session_is_resumed_where_the_last_connection_left_it<H: Half>() {
    run(async {
        let Some(broker) = Broker::start("").await else {
            return;
        };
        let mut fleet = Fleet::start(broker).await;
        fleet.admit(&credentials(1)).await;
        let (mut link, _) = H::start(fleet.broker.address);
        for resumed in [false, true, true] {
            link.connect(&credentials(1), Known::default());
            assert_eq!(soon("up", link.next()).await, Event::Up { resumed });
            link.disconnect();
            assert_eq!(
                soon("an end", link.next()).await,
                Event::Down(Failure::Closed)
            );
        }
    });
}

fn what_was_said_during_a_power_cut_is_heard_after_it<H: Half>() {
    run(async {
        let Some(broker) = Broker::start("").await else {
            return;
        };
        let mut fleet = Fleet::start(broker).await;
        fleet.admit(&credentials(1)).await;
        let (mut link, _) = H::start(fleet.broker.address);
        link.connect(&credentials(1), Known::default());
        assert!(matches!(soon("up", link.next()).await, Event::Up { .. }));
        link.disconnect();
        let closed = Event::Down(Failure::Closed);
        assert_eq!(soon("an end", link.next()).await, closed);
        fleet.say(&command(1), 0).await;
        // Another one, with nothing in its memory.
        let (mut link, _) = H::start(fleet.broker.address);
        link.connect(&credentials(1), Known::default());
        assert_eq!(soon("up", link.next()).await, Event::Up { resumed: true });
        let event = soon("the command", link.next()).await;
        assert_eq!(event, Event::Message(command(1)));
    });
}

fn presence_says_who_is_there_and_who_is_gone<H: Half>() {
    run(async {
        let Some(broker) = Broker::start("").await else {
            return;
        };
        let mut fleet = Fleet::start(broker).await;
        fleet.admit(&credentials(1)).await;
        let (mut link, _) = H::start(fleet.broker.address);
        link.connect(&credentials(1), Known::default());
        assert!(matches!(soon("up", link.next()).await, Event::Up { .. }));
        let topic = format!("d/{}/presence", credentials(1).uuid);
        let presence = |wanted: u8| {
            let (book, topic) = (fleet.book.clone(), topic.clone());
            async move {
                while book.borrow().presence.get(&topic) != Some(&vec![wanted]) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        };
        soon("presence", presence(1)).await;
        link.disconnect();
        assert_eq!(
            soon("an end", link.next()).await,
            Event::Down(Failure::Closed)
        );
        soon("absence, after the delay", presence(0)).await;
    });
}

fn a_device_may_neither_speak_nor_listen_as_another<H: Half>() {
    run(async {
        let Some(broker) = Broker::start("").await else {
            return;
        };
        let mut fleet = Fleet::start(broker).await;
        let other = Credentials {
            uuid: Uuid::from_random([9; 16]),
            secret: Secret::Api(ApiKey([9; 32])),
        };
        fleet.admit(&credentials(1)).await;
        fleet.admit(&other).await;
        let (mut link, _) = H::start(fleet.broker.address);
        link.connect(&other, Known::default());
        assert!(matches!(soon("up", link.next()).await, Event::Up { .. }));
        fleet.say(&command(1), 0).await;
        link.send(report(1)).unwrap();
        assert_eq!(soon("only its own news", link.next()).await, Event::Sent);
        let nothing = tokio::time::timeout(Duration::from_millis(50), link.next()).await;
        assert!(nothing.is_err(), "{nothing:?}");
    });
}

fn a_provisioning_key_is_another_password<H: Half>() {
    run(async {
        let Some(broker) = Broker::start("").await else {
            return;
        };
        let mut fleet = Fleet::start(broker).await;
        let enrolling = Credentials {
            uuid: credentials(1).uuid,
            secret: Secret::Provisioning(ProvisioningKey([3; 32])),
        };
        fleet.admit(&enrolling).await;
        let (mut link, _) = H::start(fleet.broker.address);
        link.connect(&enrolling, Known::default());
        assert!(matches!(soon("up", link.next()).await, Event::Up { .. }));
        link.connect(&credentials(3), Known::default());
        let event = soon("an end", link.next()).await;
        assert!(
            matches!(event, Event::Down(Failure::Refused { .. })),
            "{event:?}"
        );
    });
}

fn refusals_and_requests_for_patience_are_told_apart<H: Half>() {
    run(async {
        let retry_after_s = None;
        for (code, expected) in [
            (0x86, Failure::Refused { retry_after_s }),
            (0x87, Failure::Refused { retry_after_s }),
            (0x8a, Failure::Refused { retry_after_s }),
            (0x88, Failure::Busy { retry_after_s }),
            (0x89, Failure::Busy { retry_after_s }),
            (0x97, Failure::Busy { retry_after_s }),
            (0x9f, Failure::Busy { retry_after_s }),
        ] {
            let answer: &'static [u8] = Box::leak(Box::new([0x20, 3, 0, code, 0]));
            assert_eq!(meet::<H>(answer, b"").await, expected, "{code:#x}");
        }
        let silence = Failure::Unreachable(Unreachable::Silent);
        assert_eq!(meet::<H>(b"", b"").await, silence);
    });
}

fn the_last_words_of_a_broker_are_understood<H: Half>() {
    run(async {
        let retry_after_s = None;
        for (code, expected) in [
            (0x8e, Failure::TakenOver),
            (0x87, Failure::Refused { retry_after_s }),
            (0x98, Failure::Refused { retry_after_s }),
            (0x89, Failure::Busy { retry_after_s }),
            (0x8b, Failure::Unreachable(Unreachable::Broken)),
        ] {
            let words = [WELCOME, &[0xe0, 2, code, 0]].concat();
            let failure = meet::<H>(Box::leak(words.into_boxed_slice()), b"").await;
            assert_eq!(failure, expected, "{code:#x}");
        }
    });
}

fn a_broker_that_babbles_is_misconduct<H: Half>() {
    run(async {
        let garbage = meet::<H>(&[0, 0, 0, 0], b"").await;
        assert!(matches!(garbage, Failure::Misbehaved(_)), "{garbage:?}");
        let endless = meet::<H>(b"", &[0xff; 64]).await;
        assert!(matches!(endless, Failure::Misbehaved(_)), "{endless:?}");
        let early = meet::<H>(&[0xd0, 0], b"").await;
        assert!(matches!(early, Failure::Misbehaved(_)), "{early:?}");
    });
}

fn a_packet_that_is_longer_than_agreed_is_refused_by_its_length<H: Half>() {
    run(async {
        // A PUBLISH that announces 268,435,455 bytes.
        let welcome_and_flood: &'static [u8] = Box::leak(
            [WELCOME, &[0x32, 0xff, 0xff, 0xff, 0x7f]]
                .concat()
                .into_boxed_slice(),
        );
        let failure = meet::<H>(welcome_and_flood, &[b'x'; 512]).await;
        assert_eq!(failure, Failure::Misbehaved(Misconduct::Length));
    });
}

fn a_topic_that_was_not_subscribed_to_ends_the_connection<H: Half>() {
    run(async {
        let topic = b"d/00000000-0000-4000-8000-000000000000/down";
        let mut packet = WELCOME.to_vec();
        packet.extend([
            0x30,
            u8::try_from(2 + topic.len() + 1 + 4).unwrap(),
            0,
            topic.len() as u8,
        ]);
        packet.extend(topic);
        packet.extend([0, 1, 5, 1, 4]);
        let failure = meet::<H>(Box::leak(packet.into_boxed_slice()), b"").await;
        assert_eq!(failure, Failure::Misbehaved(Misconduct::NotOurs));
    });
}

#[test]
fn a_name_without_an_address_is_told_apart_from_a_closed_port() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        for (host, expected) in [
            ("127.0.0.1", Unreachable::Connect),
            ("nowhere.invalid", Unreachable::Name),
        ] {
            let (mut link, _) = device(Config::new(host, port));
            link.connect(&credentials(1), Known::default());
            let event = soon("an end", link.next()).await;
            assert_eq!(event, Event::Down(Failure::Unreachable(expected)), "{host}");
        }
    });
}

/// A broker that takes each connection and breaks it before it acknowledges anything.
#[test]
fn connections_that_break_one_after_the_other_use_nothing_up() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker = listener.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut heard = [0; 1024];
                let _ = stream.read(&mut heard).await;
                // A session is there: messages may go at once.
                let _ = stream.write_all(&[0x20, 3, 1, 0, 0]).await;
                let mut all: Vec<u8> = Vec::new();
                while !all.windows(3).any(|bytes: &[u8]| bytes == b"/up") {
                    match stream.read(&mut heard).await {
                        Ok(len @ 1..) => all.extend(&heard[..len]),
                        Ok(_) | Err(_) => break,
                    }
                }
            }
        });
        let (mut link, _) = Microcontroller::start(broker);
        for round in 0..20 {
            link.connect(&credentials(1), Known::default());
            let mut events = Vec::new();
            loop {
                match soon("an end", link.next()).await {
                    Event::Up { .. } => {
                        events.push("up");
                        link.send(report(round)).unwrap();
                    }
                    Event::Unsent(Failure::Unreachable(Unreachable::Broken)) => {
                        events.push("unsent");
                    }
                    Event::Down(Failure::Unreachable(Unreachable::Broken)) => break,
                    other => panic!("in round {round}: {other:?}"),
                }
            }
            assert_eq!(events, ["up", "unsent"], "in round {round}");
        }
    });
}
