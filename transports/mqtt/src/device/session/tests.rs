extern crate std;

use std::vec::Vec;

use embassy_futures::block_on;
use embassy_time::Duration;
use lightship_core::id::{ApiKey, Digest};
use lightship_core::wire::{NewKey, Up};
use lightship_link::chunk::Request;

use super::super::deadlines::NEVER;
use super::super::tape::Tape;
use super::saying::BEHIND;
use super::*;

/// CONNACK, and with a session.
const WELCOME: &[u8] = &[0x20, 3, 0, 0, 0];
const RESUMED: &[u8] = &[0x20, 3, 1, 0, 0];
const PONG: &[u8] = &[0xd0, 0];

/// A session, its broker, and a time that passes when it is told to.
struct Rig<'b> {
    session: Session<'b>,
    tape: Tape,
    now: Instant,
}

fn patience() -> Patience {
    Patience {
        keep_alive_s: 60,
        timeout: Duration::from_secs(10),
    }
}

fn credentials() -> Credentials {
    Credentials {
        uuid: Uuid::from_random([1; 16]),
        secret: Secret::Api(ApiKey([2; 32])),
    }
}

fn with(test: impl FnOnce(Rig<'_>)) {
    let (mut rx, mut tx, mut id) = ([0; 512], [0; super::super::TX_BYTES], 0);
    let now = Instant::from_secs(1000);
    let wire = Wire::new(&mut rx, &mut tx);
    let session = Session::new(&credentials(), patience(), wire, &mut id, now).unwrap();
    let tape = Tape::new(&[], usize::MAX);
    test(Rig { session, tape, now });
}

/// The same, connected; the agent has heard so.
fn connected(welcome: &[u8], test: impl FnOnce(Rig<'_>)) {
    with(|mut rig| {
        rig.hear(welcome).unwrap();
        rig.hear(&suback(&rig, &[1, 1, 1])).unwrap();
        assert!(rig.session.news.up.take().is_some());
        rig.sent();
        test(rig);
    });
}

fn suback(rig: &Rig<'_>, reasons: &[u8]) -> Vec<u8> {
    let [high, low] = rig.session.subscription.to_be_bytes();
    let len = u8::try_from(3 + reasons.len()).unwrap();
    [&[0x90, len, high, low, 0], reasons].concat()
}

fn puback(id: u16, reason: u8) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    std::vec![0x40, 3, high, low, reason]
}

fn publish(name: &str, id: u16) -> Vec<u8> {
    let topic = topics::topic(credentials().uuid, name);
    let len = u8::try_from(2 + topic.len() + 2 + 1 + 2).unwrap();
    let mut packet = std::vec![0x32, len, 0, u8::try_from(topic.len()).unwrap()];
    packet.extend(topic.as_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend([0, b'h', b'i']);
    packet
}

fn message() -> Up {
    Up::ProposeKey(NewKey::Api(ApiKey([3; 32])))
}

fn question() -> Request {
    Request {
        id: 0x0a0b_0c0d,
        digest: Digest([4; 32]),
        offset: 0,
        max: 1024,
    }
}

impl Rig<'_> {
    /// Takes one packet while the agent has nothing to handle.
    fn hear(&mut self, packet: &[u8]) -> Result<Heard, Failure> {
        self.receive(packet)?;
        self.session.hear(true, self.now)
    }

    fn receive(&mut self, packet: &[u8]) -> Result<(), Failure> {
        self.sent();
        self.tape.play.extend(packet);
        while !self.tape.play.is_empty() {
            block_on(self.session.wire.step(&mut self.tape))?;
        }
        Ok(())
    }

    /// What was written since.
    fn sent(&mut self) -> Vec<u8> {
        let flushes = self.tape.flushes;
        while !self.session.wire.is_idle() {
            block_on(self.session.wire.step(&mut self.tape)).unwrap();
        }
        let sent = core::mem::take(&mut self.tape.record);
        if !sent.is_empty() {
            block_on(self.session.wire.step(&mut self.tape)).unwrap();
            assert_eq!(self.tape.flushes, flushes + 1);
        }
        sent
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    /// When something is due, in seconds from now.
    fn due(&self) -> u64 {
        (self.session.due() - self.now).as_secs()
    }
}

#[test]
fn up_is_said_when_the_topics_are_taken() {
    with(|mut rig| {
        assert_eq!(rig.sent()[0], 0x10);
        rig.hear(WELCOME).unwrap();
        let sent = rig.sent();
        assert_eq!(sent[0], 0x82);
        assert!(sent.ends_with(&[0, 1]), "presence");
        assert_eq!(rig.session.news.up, None);
        assert!(!rig.session.has_room() && !rig.session.may_ask());
        rig.hear(&suback(&rig, &[1, 1, 1])).unwrap();
        assert_eq!(rig.session.news.up, Some(false));
        assert!(rig.session.has_room() && rig.session.may_ask());
    });
}

#[test]
fn a_resumed_session_is_up_at_once_and_refused_later() {
    with(|mut rig| {
        rig.hear(RESUMED).unwrap();
        assert_eq!(rig.session.news.up, Some(true));
        let refused = rig.hear(&suback(&rig, &[1, 0x87, 1])).err();
        let retry_after_s = None;
        assert_eq!(refused, Some(Failure::Refused { retry_after_s }));
    });
}

#[test]
fn every_topic_must_be_answered_for() {
    for reasons in [&[][..], &[1], &[1, 1, 1, 1]] {
        with(|mut rig| {
            rig.hear(WELCOME).unwrap();
            let garbage = rig.hear(&suback(&rig, reasons)).err();
            assert_eq!(garbage, Some(Failure::Misbehaved(Misconduct::Garbage)));
        });
    }
    with(|mut rig| {
        rig.hear(WELCOME).unwrap();
        // Of another connection.
        rig.hear(&[0x90, 4, 0x7f, 0, 0, 0x87]).unwrap();
        assert_eq!(rig.session.news.up, None);
    });
}

#[test]
fn a_message_may_come_before_its_topic_is_answered_for() {
    with(|mut rig| {
        rig.hear(WELCOME).unwrap();
        let heard = rig.hear(&publish("target", 9)).unwrap();
        assert!(matches!(heard, Heard::Nothing));
        assert_eq!(rig.session.news.up.take(), Some(false), "which comes first");
        let heard = rig.session.hear(true, rig.now).unwrap();
        assert!(matches!(heard, Heard::Message(_)));
        rig.hear(&suback(&rig, &[1, 1, 1])).unwrap();
        assert_eq!(rig.session.news.up, None, "it is said once");
    });
}

#[test]
fn a_message_is_acknowledged_after_it_was_handled() {
    connected(WELCOME, |mut rig| {
        let Heard::Message(place) = rig.hear(&publish("down", 0x0102)).unwrap() else {
            panic!("no message");
        };
        assert_eq!(rig.session.wire.part(place), b"hi");
        assert_eq!(rig.sent(), []);
        rig.session.handled(rig.now).unwrap();
        assert_eq!(rig.sent(), [0x40, 2, 1, 2]);
        rig.session.handled(rig.now).unwrap();
        assert_eq!(rig.sent(), [], "once");
    });
}

#[test]
fn a_second_message_waits_and_a_piece_does_not() {
    connected(WELCOME, |mut rig| {
        rig.hear(&publish("down", 1)).unwrap();
        let heard = rig.hear(&publish("blob/data", 2)).unwrap();
        assert!(matches!(heard, Heard::Piece(_)));
        assert_eq!(rig.sent(), [0x40, 2, 0, 2]);
        let heard = rig.hear(&publish("down", 3)).unwrap();
        assert!(matches!(heard, Heard::Nothing));
        rig.session.handled(rig.now).unwrap();
        assert!(matches!(
            rig.session.hear(false, rig.now),
            Ok(Heard::Nothing)
        ));
        assert!(rig.session.has_news(), "and is waited for");
        assert!(matches!(
            rig.session.hear(true, rig.now),
            Ok(Heard::Message(_))
        ));
    });
}

#[test]
fn a_message_of_the_agent_ends_in_what_the_broker_says() {
    for (reason, outcome) in [(0, Ok(())), (0x10, Ok(())), (0x87, Err(Failure::Declined))] {
        connected(WELCOME, |mut rig| {
            rig.session.carry(&message(), rig.now);
            assert_eq!(rig.sent()[0], 0x32);
            assert!(rig.session.has_message_under_way() && !rig.session.has_room());
            // The earlier connection's, and the subscription's.
            for old in [0xff00, 1] {
                rig.hear(&puback(old, 0)).unwrap();
                assert_eq!(rig.session.news.outcome, None);
            }
            rig.hear(&puback(rig.session.message, reason)).unwrap();
            assert_eq!(rig.session.news.outcome, Some(outcome));
            assert!(!rig.session.has_room(), "until the agent has heard");
            rig.session.news.outcome = None;
            assert!(rig.session.has_room());
        });
    }
}

#[test]
fn a_question_that_is_declined_ends_nothing_else() {
    connected(WELCOME, |mut rig| {
        rig.session.ask(&question(), rig.now).unwrap();
        let sent = rig.sent();
        let correlation = [0x09, 0, 4, 0x0a, 0x0b, 0x0c, 0x0d];
        assert!(sent.windows(7).any(|bytes| bytes == correlation));
        assert!(!rig.session.may_ask() && rig.session.has_room());
        let heard = rig.hear(&puback(rig.session.question, 0x87)).unwrap();
        assert!(matches!(heard, Heard::Declined));
        assert!(rig.session.may_ask());
    });
}

#[test]
fn identifiers_are_never_shared_and_outlive_a_connection() {
    connected(WELCOME, |mut rig| {
        rig.session.carry(&message(), rig.now);
        let message = rig.session.message;
        // Both are next, when all others were used.
        for next in [message, 0] {
            rig.sent();
            *rig.session.last_id = next.wrapping_sub(1);
            rig.session.ask(&question(), rig.now).unwrap();
            let question = rig.session.question;
            assert!(question != 0 && question != message);
            rig.hear(&puback(question, 0)).unwrap();
        }
    });
    let (mut rx, mut tx, mut id) = ([0; 512], [0; 512], 41);
    let wire = Wire::new(&mut rx, &mut tx);
    let session = Session::new(&credentials(), patience(), wire, &mut id, Instant::MIN);
    assert_eq!(session.unwrap().next_id(), 42);
}

/// Section 4.9.
#[test]
fn no_more_is_under_way_than_the_broker_takes() {
    let one_at_a_time = &[0x20, 6, 0, 0, 3, 0x21, 0, 1];
    connected(one_at_a_time, |mut rig| {
        rig.session.ask(&question(), rig.now).unwrap();
        rig.sent();
        assert!(!rig.session.has_room());
        rig.hear(&puback(rig.session.question, 0)).unwrap();
        assert!(rig.session.has_room());
        rig.session.carry(&message(), rig.now);
        rig.sent();
        assert!(!rig.session.may_ask());
    });
}

/// Section 3.2.2.3.6.
#[test]
fn what_is_too_long_for_the_broker_is_told_and_the_connection_goes_on() {
    let shorter = &[0x20, 8, 0, 0, 5, 0x27, 0, 0, 0, 60];
    with(|mut rig| {
        let failed = rig.hear(shorter).err();
        assert_eq!(failed, Some(Failure::TooLarge), "not even the topics");
    });
    let provisional = Credentials {
        secret: Secret::Provisioning(lightship_core::id::ProvisioningKey([5; 32])),
        ..credentials()
    };
    let (mut rx, mut tx, mut id) = ([0; 512], [0; 512], 0);
    let (wire, now) = (Wire::new(&mut rx, &mut tx), Instant::from_secs(1));
    let session = Session::new(&provisional, patience(), wire, &mut id, now).unwrap();
    let tape = Tape::new(&[], usize::MAX);
    let mut rig = Rig { session, tape, now };
    rig.hear(shorter).unwrap();
    rig.hear(&suback(&rig, &[1])).unwrap();
    rig.sent();
    rig.session.carry(&message(), rig.now);
    let outcome = rig.session.news.outcome.take();
    assert_eq!(outcome, Some(Err(Failure::TooLarge)));
    assert_eq!(
        rig.session.ask(&question(), rig.now),
        Err(Failure::TooLarge)
    );
    assert!(rig.sent().is_empty() && rig.session.has_room() && rig.session.may_ask());
}

#[test]
fn a_broker_that_does_not_answer_is_silent() {
    with(|mut rig| {
        assert_eq!(rig.due(), 10);
        rig.hear(WELCOME).unwrap();
        rig.pass(4);
        rig.hear(PONG).unwrap();
        assert_eq!(rig.due(), 6, "a sign of life is no answer");
        rig.pass(6);
        assert_eq!(rig.session.overdue(rig.now), Err(SILENT));
    });
    connected(WELCOME, |mut rig| {
        rig.session.carry(&message(), rig.now);
        rig.pass(2);
        rig.session.ask(&question(), rig.now).unwrap();
        assert_eq!(rig.due(), 8);
        rig.hear(&puback(rig.session.message, 0)).unwrap();
        assert_eq!(rig.due(), 10);
    });
}

#[test]
fn a_fleet_that_does_not_answer_may_answer_the_next() {
    connected(WELCOME, |mut rig| {
        rig.session.ask(&question(), rig.now).unwrap();
        rig.pass(3);
        rig.hear(&puback(rig.session.question, 0)).unwrap();
        assert_eq!(rig.due(), 7);
        rig.pass(7);
        assert_eq!(rig.session.overdue(rig.now), Ok(true));
        assert!(rig.session.may_ask());
        assert!(rig.due() > 10);
    });
}

/// Sections 3.1.2.10 and 3.2.2.3.14.
#[test]
fn a_ping_leaves_before_the_keep_alive_ends() {
    for (welcome, every) in [
        (WELCOME, 55),
        (&[0x20, 6, 0, 0, 3, 0x13, 0, 30], 25),
        (&[0x20, 6, 0, 0, 3, 0x13, 0, 4], 2),
        (&[0x20, 6, 0, 0, 3, 0x13, 0, 1], 1),
    ] {
        connected(welcome, |mut rig| {
            assert_eq!(rig.due(), every);
            rig.pass(every);
            assert_eq!(rig.session.overdue(rig.now), Ok(false));
            assert_eq!(rig.sent(), [0xc0, 0]);
            assert_eq!(rig.due(), 10, "it must be answered");
            rig.hear(PONG).unwrap();
            assert_eq!(rig.due(), every);
            rig.pass(every);
            assert_eq!(rig.session.overdue(rig.now), Ok(false));
            rig.pass(10);
            assert_eq!(rig.session.overdue(rig.now), Err(SILENT));
        });
    }
    let never = &[0x20, 6, 0, 0, 3, 0x13, 0, 0];
    connected(never, |rig| assert_eq!(rig.session.due(), NEVER));
}

#[test]
fn what_is_sent_is_a_sign_of_life() {
    connected(WELCOME, |mut rig| {
        rig.pass(50);
        rig.session.carry(&message(), rig.now);
        rig.hear(&puback(rig.session.message, 0)).unwrap();
        assert_eq!(rig.due(), 55);
    });
}

#[test]
fn while_a_message_waits_there_are_pings_and_no_silence() {
    connected(WELCOME, |mut rig| {
        rig.session.ask(&question(), rig.now).unwrap();
        rig.hear(&publish("down", 1)).unwrap();
        rig.hear(&publish("down", 2)).unwrap();
        assert_eq!(rig.due(), 55, "nothing is read");
        rig.pass(55);
        assert_eq!(rig.session.overdue(rig.now), Ok(false));
        assert_eq!(rig.session.due(), NEVER);
        rig.pass(100);
        rig.session.handled(rig.now).unwrap();
        assert!(matches!(
            rig.session.hear(true, rig.now),
            Ok(Heard::Message(_))
        ));
        assert_eq!(rig.due(), 10, "all that is owed, from now on");
        rig.hear(PONG).unwrap();
        rig.hear(&puback(rig.session.question, 0)).unwrap();
        rig.pass(10);
        assert_eq!(rig.session.overdue(rig.now), Ok(true));
    });
}

#[test]
fn steps_out_of_turn_end_the_connection() {
    let out_of_turn = Some(Failure::Misbehaved(Misconduct::Sequence));
    for early in [
        PONG,
        &puback(1, 0),
        &publish("down", 1),
        &[0x90, 4, 0, 1, 0, 1],
    ] {
        with(|mut rig| assert_eq!(rig.hear(early).err(), out_of_turn, "{early:x?}"));
    }
    connected(WELCOME, |mut rig| {
        assert_eq!(rig.hear(WELCOME).err(), out_of_turn);
    });
    // Exactly once was not asked for.
    let mut exactly_once = publish("down", 1);
    exactly_once[0] = 0x34;
    connected(WELCOME, |mut rig| {
        assert_eq!(rig.hear(&exactly_once).err(), out_of_turn);
    });
    connected(WELCOME, |mut rig| {
        let not_ours = rig.hear(&publish("up", 1)).err();
        assert_eq!(not_ours, Some(Failure::Misbehaved(Misconduct::NotOurs)));
    });
}

#[test]
fn a_broker_says_why_it_goes() {
    for is_greeted in [false, true] {
        for (reason, expected) in [(0x8e, Failure::TakenOver), (0x8b, BROKEN)] {
            with(|mut rig| {
                if is_greeted {
                    rig.hear(WELCOME).unwrap();
                }
                let failure = rig.hear(&[0xe0, 1, reason]).err();
                assert_eq!(failure, Some(expected));
            });
        }
    }
}

#[test]
fn acknowledgements_and_pings_fit_behind_the_longest_message() {
    for room in 300..400 {
        let (mut rx, mut tx, mut id) = ([0; 512], [0; 400], 0);
        let (wire, now) = (Wire::new(&mut rx, &mut tx[..room]), Instant::from_secs(1));
        let session = Session::new(&credentials(), patience(), wire, &mut id, now).unwrap();
        let tape = Tape::new(&[], usize::MAX);
        let mut rig = Rig { session, tape, now };
        rig.hear(RESUMED).unwrap();
        rig.session.news.up = None;
        rig.hear(&publish("down", 1)).unwrap();
        // As much as there is room for.
        rig.session.wire.queue(Some(room - BEHIND)).unwrap();
        rig.session.handled(rig.now).unwrap();
        rig.session.acknowledge(2, rig.now).unwrap();
        rig.session.ping(rig.now).unwrap();
        assert_eq!(rig.sent().len(), room - BEHIND + 4 + 4 + 2);
    }
}

/// All that a broker says in a conversation, with each byte changed.
#[test]
fn no_broker_reaches_a_panic() {
    let mut said = RESUMED.to_vec();
    said.extend([0x90, 6, 0, 1, 0, 1, 1, 1]);
    said.extend(publish("target", 7));
    said.extend(publish("blob/data", 8));
    said.extend(puback(2, 0));
    said.extend(PONG);
    said.extend([0xe0, 2, 0x8e, 0]);
    let mut ends = 0;
    for at in 0..said.len() {
        for byte in [0, 1, 2, 0x10, 0x20, 0x32, 0x7f, 0x80, 0xff] {
            let mut said = said.clone();
            said[at] = byte;
            with(|mut rig| {
                rig.sent();
                rig.tape.play = said;
                ends += usize::from(converse(&mut rig).is_err());
            });
        }
    }
    assert_eq!(
        ends,
        said.len() * 9,
        "each ends, with the stream if not before"
    );
}

/// Takes what comes until the connection ends; the agent has a message, a question, and handles what it is shown.
fn converse(rig: &mut Rig<'_>) -> Result<(), Failure> {
    loop {
        rig.session.hear(true, rig.now)?;
        rig.session.news = News::default();
        rig.session.handled(rig.now)?;
        if rig.session.has_room() {
            rig.session.carry(&message(), rig.now);
        } else if rig.session.may_ask() {
            rig.session.ask(&question(), rig.now)?;
        }
        block_on(rig.session.wire.step(&mut rig.tape))?;
    }
}

#[test]
fn memory_that_is_too_small_is_told() {
    let (mut rx, mut tx, mut id) = ([0; 512], [0; 100], 0);
    let wire = Wire::new(&mut rx, &mut tx);
    let session = Session::new(&credentials(), patience(), wire, &mut id, Instant::MIN);
    assert_eq!(session.err(), Some(Failure::TooLarge));
}
