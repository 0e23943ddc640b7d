//! Lines that lose, flip and invent bytes, far ends that babble, and a real terminal.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod rig;

use std::time::Duration;

use embedded_io_adapters::tokio_1::FromTokio;
use lightship_core::limits::MESSAGE_BYTES;
use lightship_core::wire;
use lightship_link::suite::{Actor, FarEnd, Way, command, credentials, report, run, soon, target};
use lightship_link::{Blobs, Event, Failure, Known, Link, Unreachable};
use lightship_serial::frame::{Head, Kind, encode};
use lightship_serial::tty::Tty;
use rig::terminals::terminal;
use rig::{device, shore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn noise_costs_time_and_no_message() {
    run(async {
        let (way, near, far) = Way::line();
        let (mut link, _blobs) = device(FromTokio::new(near));
        let mut desk = shore(FromTokio::new(far));
        desk.admit(&credentials(1)).await;
        let mut actor = Actor::new(&mut link, &way, credentials(1));
        actor.until("the connection", |actor| actor.up).await;
        for number in 0..20 {
            // A bit of every few hundred bytes, at ever other places.
            way.noise(u64::from(211 + 13 * number));
            let id = u64::from(number) + 1;
            desk.say(&command(id), 0).await;
            actor.pending = Some(report(number));
            actor
                .until("both", |actor| {
                    actor.pending.is_none() && actor.acted.last() == Some(&id)
                })
                .await;
        }
        assert_eq!(actor.acted, (1..=20).collect::<Vec<_>>());
        let heard = desk.heard().await;
        let expected: Vec<_> = (0..20).map(report).collect();
        let mut distinct = heard;
        distinct.dedup();
        assert_eq!(distinct, expected);
    });
}

#[test]
fn a_blob_comes_whole_over_a_noisy_line() {
    run(async {
        let (way, near, far) = Way::line();
        let (mut link, mut blobs) = device(FromTokio::new(near));
        let mut desk = shore(FromTokio::new(far));
        desk.admit(&credentials(1)).await;
        let whole: Vec<u8> = (0..8000u32).map(|at| (at * 7 % 251) as u8).collect();
        let digest = desk.keep(whole.clone()).await;
        let mut actor = Actor::new(&mut link, &way, credentials(1));
        actor.until("the connection", |actor| actor.up).await;
        way.noise(2999);
        let mut got: Vec<u8> = Vec::new();
        let mut into = [0; 1024];
        while got.len() < whole.len() {
            let len = soon("a piece", blobs.read(&digest, got.len() as u64, &mut into))
                .await
                .unwrap();
            got.extend(&into[..len]);
        }
        assert!(got == whole, "the blob differs");
    });
}

#[test]
fn a_shore_that_forgets_the_session_is_found_out_at_once() {
    run(async {
        let (way, near, mut far) = Way::line();
        let (mut link, _blobs) = device(FromTokio::new(near));
        // The first shore answers the hello by hand, the second knows nothing of it.
        let answer = async {
            let mut bytes = [0; 256];
            let _ = far.read(&mut bytes).await.unwrap();
            let head = Head {
                kind: Kind::Welcome,
                session: 77,
                sequence: 1,
            };
            let len = encode(head, &[1, 0xff, 0x07, 0], &mut bytes).unwrap();
            far.write_all(&bytes[..len]).await.unwrap();
        };
        link.connect(&credentials(1), Known::default());
        let (event, ()) = tokio::join!(soon("up", link.next()), answer);
        assert_eq!(event, Event::Up { resumed: false });
        let mut desk = shore(FromTokio::new(far));
        desk.admit(&credentials(1)).await;
        link.send(report(1)).unwrap();
        let broken = Failure::Unreachable(Unreachable::Broken);
        assert_eq!(soon("an outcome", link.next()).await, Event::Unsent(broken));
        assert_eq!(soon("an end", link.next()).await, Event::Down(broken));
        let mut actor = Actor::new(&mut link, &way, credentials(1));
        actor.pending = Some(report(1));
        actor
            .until("the report", |actor| actor.pending.is_none())
            .await;
    });
}

#[test]
fn frames_that_are_too_long_or_of_another_session_are_noise_and_the_next_is_read() {
    run(async {
        let (_way, near, mut far) = Way::line();
        let (mut link, _blobs) = device(FromTokio::new(near));
        let frame = |kind, session, sequence, payload: &[u8]| {
            let head = Head {
                kind,
                session,
                sequence,
            };
            let mut bytes = vec![0; payload.len() + payload.len() / 100 + 64];
            let len = encode(head, payload, &mut bytes).unwrap();
            bytes.truncate(len);
            bytes
        };
        let mut message = [0; 64];
        let message = wire::encode(&command(1), &mut message).unwrap().to_vec();
        let answers = async {
            let mut bytes = [0; 256];
            let _ = far.read(&mut bytes).await.unwrap();
            let mut said = frame(Kind::Welcome, 77, 1, &[1, 0xff, 0x07, 0]);
            // Longer than any message, and cut off where the next frame begins.
            said.extend(frame(Kind::Message, 77, 0, &vec![0x55; 3 * MESSAGE_BYTES]));
            said.extend(&frame(Kind::Message, 77, 0, &[0x55; 100])[..50]);
            said.push(0);
            said.extend(frame(Kind::Message, 78, 0, &message));
            said.extend(frame(Kind::Bye, 76, 0, &[]));
            said.extend(frame(Kind::Message, 77, 0, &message));
            far.write_all(&said).await.unwrap();
        };
        link.connect(&credentials(1), Known::default());
        let (event, ()) = tokio::join!(soon("up", link.next()), answers);
        assert_eq!(event, Event::Up { resumed: false });
        let event = soon("the command, once", link.next()).await;
        assert_eq!(event, Event::Message(command(1)));
    });
}

#[test]
fn a_far_end_that_babbles_for_ever_is_silence() {
    run(async {
        for babble in [&[0x55; 64][..], &[0; 64], &[0xff; 64], b"login: \r\n\0"] {
            let (_way, near, mut far) = Way::line();
            let (mut link, _blobs) = device(FromTokio::new(near));
            let (reader, mut writer) = tokio::io::split(&mut far);
            link.connect(&credentials(1), Known::default());
            let silent = Failure::Unreachable(Unreachable::Silent);
            tokio::select! {
                event = soon("an end", link.next()) => assert_eq!(event, Event::Down(silent)),
                () = async { while writer.write_all(babble).await.is_ok() {} } => panic!("the line ended"),
                () = drain(reader) => panic!("the line ended"),
            }
        }
    });
}

async fn drain(mut reader: impl tokio::io::AsyncRead + Unpin) {
    let mut bytes = [0; 256];
    while reader.read(&mut bytes).await.is_ok_and(|len| len > 0) {}
}

#[test]
fn a_pseudo_terminal_is_a_line() {
    run(async {
        let Some((control, far)) = terminal() else {
            return;
        };
        let (mut link, mut blobs) = device(Tty::new(control).unwrap());
        let mut desk = shore(far);
        desk.admit(&credentials(1)).await;
        let way = Way::line().0;
        let mut actor = Actor::new(&mut link, &way, credentials(1));
        desk.say(&target(&[0; 1000], &[13; 4000]), 1).await;
        actor.pending = Some(report(1));
        let done = |actor: &Actor<'_, _>| actor.pending.is_none() && !actor.targets.is_empty();
        actor.until("both messages", done).await;
        assert!(actor.targets == [(vec![0; 1000], vec![13; 4000])]);
        // Every byte that a terminal could take for its own.
        let whole: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let digest = desk.keep(whole.clone()).await;
        let mut got: Vec<u8> = Vec::new();
        let mut into = [0; 700];
        while got.len() < whole.len() {
            let len = soon("a piece", blobs.read(&digest, got.len() as u64, &mut into))
                .await
                .unwrap();
            got.extend(&into[..len]);
        }
        assert!(got == whole, "the blob differs");
        tokio::time::timeout(Duration::from_secs(5), actor.leave())
            .await
            .unwrap();
    });
}
