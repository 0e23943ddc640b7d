use std::borrow::ToOwned;
use std::collections::VecDeque;
use std::format;
use std::string::String;
use std::vec::Vec;

use embassy_futures::block_on;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use lightship_core::id::{ApiKey, ProvisioningKey, Uuid};
use lightship_link::limits::RETRY_AFTER_S;
use lightship_link::{Misconduct, Secret};

use super::*;
use crate::limits::HEAD_BYTES;

const GARBAGE: Failure = Failure::Misbehaved(Misconduct::Garbage);
const LENGTH: Failure = Failure::Misbehaved(Misconduct::Length);

/// A server that says something in pieces, whatever it hears, and hangs up.
struct Server {
    pieces: VecDeque<Vec<u8>>,
    heard: Vec<u8>,
    /// Bytes that it takes before it hears no more.
    takes: usize,
}

impl Server {
    fn new(pieces: &[&[u8]]) -> Self {
        Self {
            pieces: pieces.iter().map(|piece| piece.to_vec()).collect(),
            heard: Vec::new(),
            takes: usize::MAX,
        }
    }
}

impl ErrorType for Server {
    type Error = ErrorKind;
}

impl Read for Server {
    async fn read(&mut self, into: &mut [u8]) -> Result<usize, ErrorKind> {
        assert!(
            !into.is_empty(),
            "a read into nothing would look like an end"
        );
        self.pieces.retain(|piece| !piece.is_empty());
        let Some(piece) = self.pieces.front_mut() else {
            return Ok(0);
        };
        let len = piece.len().min(into.len());
        into[..len].copy_from_slice(&piece[..len]);
        piece.drain(..len);
        Ok(len)
    }
}

impl Write for Server {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let len = bytes.len().min(7).min(self.takes - self.heard.len());
        self.heard.extend_from_slice(&bytes[..len]);
        match len {
            0 => Err(ErrorKind::BrokenPipe),
            len => Ok(len),
        }
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// The status, the time to wait and the body of what comes of an answer in these pieces.
fn ask(pieces: &[&[u8]]) -> Result<(u16, Option<u32>, Vec<u8>), Failure> {
    let mut into = [0xA5; POST_HEAD_BYTES];
    let sending = Post::registration("fleet");
    let answer = block_on(sending.send(&mut Server::new(pieces), b"me", &mut into))?;
    Ok((
        answer.status,
        answer.retry_after_s,
        into[..answer.len].to_vec(),
    ))
}

/// The same, and that it is the same wherever the answer is cut in two, and byte by byte.
fn ask_cut(answer: &str) -> Result<(u16, Option<u32>, Vec<u8>), Failure> {
    let bytes = answer.as_bytes();
    let whole = ask(&[bytes]);
    for at in 0..bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(ask(&[first, second]), whole, "{answer:?} cut at {at}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(ask(&single), whole, "{answer:?} byte by byte");
    whole
}

fn good(body: &[u8]) -> Result<(u16, Option<u32>, Vec<u8>), Failure> {
    Ok((200, None, body.to_vec()))
}

#[test]
fn a_request_says_what_it_has_to() {
    let mut server = Server::new(&[b"HTTP/1.1 204 No Content\r\n\r\n"]);
    let sending = Post::registration("100.64.0.1");
    let mut into = [0; POST_HEAD_BYTES];
    let answer = block_on(sending.send(&mut server, b"{body}", &mut into)).unwrap();
    assert_eq!((answer.status, answer.len), (204, 0));
    assert_eq!(
        String::from_utf8(server.heard).unwrap(),
        "POST /device/v1/register HTTP/1.1\r\nConnection: close\r\nHost: 100.64.0.1\r\nContent-Type: application/vnd.lightship.postcard\r\nContent-Length: 6\r\n\r\n{body}"
    );
}

#[test]
fn logs_show_whose_they_are_and_a_provisioning_key_is_not_shown() {
    let uuid = Uuid::from_random([0xAB; 16]);
    let mut into = [0; POST_HEAD_BYTES];
    for (secret, shown) in [
        (Secret::Api(ApiKey([0x0F; 32])), true),
        (Secret::Provisioning(ProvisioningKey([0x0F; 32])), false),
    ] {
        let credentials = Credentials { uuid, secret };
        let post = Post::logs("100.64.0.1", Kind::Defmt, &credentials);
        let len = post.write(usize::MAX, &mut into).unwrap();
        let text = core::str::from_utf8(&into[..len]).unwrap();
        let line = format!("\r\nAuthorization: Bearer {uuid}.{}\r\n", "0f".repeat(32));
        assert_eq!(text.contains(&line), shown, "{text}");
        assert!(text.starts_with("POST /device/v1/logs HTTP/1.1\r\n"));
        assert!(text.contains("\r\nContent-Type: application/vnd.lightship.defmt\r\n"));
        assert!(text.ends_with(&format!("Content-Length: {}\r\n\r\n", usize::MAX)));
    }
    let credentials = Credentials {
        uuid,
        secret: Secret::Api(ApiKey([1; 32])),
    };
    let post = Post::logs("100.64.0.1", Kind::Lines, &credentials);
    let nothing = block_on(post.send(&mut Server::new(&[]), b"", &mut [0; 200]));
    assert_eq!(nothing, Err(Failure::TooLarge), "too little memory is told");
}

#[test]
fn an_answer_is_the_same_wherever_it_is_cut() {
    let head = "HTTP/1.1 200 OK\r\ndate: Fri, 27 Nov 2026 12:00:00 GMT\r\n";
    for (answer, expected) in [
        (
            format!("{head}content-length: 5\r\n\r\nhello"),
            good(b"hello"),
        ),
        (
            format!("{head}Content-Length:5\r\n\r\nhello and more"),
            good(b"hello"),
        ),
        (format!("{head}content-length: 0\r\n\r\n"), good(b"")),
        (format!("{head}\r\nuntil the end"), good(b"until the end")),
        ("HTTP/1.0 200\n\nbare lines".to_owned(), good(b"bare lines")),
        (
            format!(
                "HTTP/1.1 103 Early\r\nLink: x\r\nno header\r\n\r\n{head}content-length: 1\r\n\r\n!"
            ),
            good(b"!"),
        ),
        (
            format!(
                "{head}x: {}\r\n{}: y\r\ncontent-length: 1\r\n\r\n!",
                "y".repeat(400),
                "x".repeat(300)
            ),
            good(b"!"),
        ),
        (
            "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello".to_owned(),
            Ok((204, None, Vec::new())),
        ),
    ] {
        assert_eq!(ask_cut(&answer), expected, "{answer:?}");
    }
}

#[test]
fn a_status_says_what_it_says_whatever_follows() {
    let retry = "retry-after: 30\r\n";
    for (status, headers, body, expected) in [
        (
            301,
            "location: http://elsewhere/\r\n",
            "",
            Failure::Misbehaved(Misconduct::Sequence),
        ),
        (400, "", "why", Failure::Declined),
        (
            401,
            "",
            "",
            Failure::Refused {
                retry_after_s: None,
            },
        ),
        (
            403,
            retry,
            "no",
            Failure::Refused {
                retry_after_s: Some(30),
            },
        ),
        (413, "", "", Failure::TooLarge),
        (
            429,
            "Retry-After: 30 \r\n",
            "",
            Failure::Busy {
                retry_after_s: Some(30),
            },
        ),
        (
            429,
            "retry-after: 99999999999999999999999\r\n",
            "",
            Failure::Busy {
                retry_after_s: Some(RETRY_AFTER_S),
            },
        ),
        (
            503,
            "retry-after: Fri, 27 Nov 2026 12:00:00 GMT\r\n",
            "",
            Failure::Busy {
                retry_after_s: None,
            },
        ),
        (
            503,
            "retry-after: -1\r\n",
            "",
            Failure::Busy {
                retry_after_s: None,
            },
        ),
        (500, "", "", Failure::Unreachable(Unreachable::Server)),
    ] {
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}");
        let (seen, retry_after_s, text) = ask_cut(&answer).unwrap();
        assert_eq!((seen, text), (status, body.as_bytes().to_vec()));
        let answer = Answer {
            status,
            retry_after_s,
            len: length,
        };
        assert!(!answer.is_good());
        assert_eq!(answer.failure(), expected, "{status}");
    }
}

#[test]
fn a_body_that_explains_a_refusal_may_be_missing_or_too_long() {
    let long = "x".repeat(POST_HEAD_BYTES + 1);
    for answer in [
        "HTTP/1.1 409 X\r\ncontent-length: 10\r\n\r\nhalf".to_owned(),
        format!(
            "HTTP/1.1 409 X\r\ncontent-length: {}\r\n\r\n{long}",
            long.len()
        ),
        format!("HTTP/1.1 409 X\r\n\r\n{long}"),
    ] {
        assert_eq!(ask_cut(&answer), Ok((409, None, Vec::new())), "{answer:?}");
    }
}

#[test]
fn what_is_no_answer_is_named_and_bounded() {
    let head = "HTTP/1.1 200 OK\r\n";
    let room = "x".repeat(POST_HEAD_BYTES);
    for (answer, expected) in [
        (String::new(), BROKEN),
        ("HTTP/1.1 200 OK\r\ncontent-le".to_owned(), BROKEN),
        (format!("{head}content-length: 6\r\n\r\nhello"), BROKEN),
        ("HTTP/1.1 100 Continue\r\n\r\n".to_owned(), BROKEN),
        (
            format!(
                "{head}content-length: {}\r\n\r\n{room}x",
                POST_HEAD_BYTES + 1
            ),
            LENGTH,
        ),
        (
            format!("{head}content-length: 99999999999999999999999999\r\n\r\n"),
            LENGTH,
        ),
        (format!("{head}\r\n{room}x"), LENGTH),
        (format!("{head}{}", "a: b\r\n".repeat(HEAD_BYTES)), LENGTH),
        ("x".repeat(2 * HEAD_BYTES), LENGTH),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(HEAD_BYTES), LENGTH),
        ("\r\n\r\n".to_owned(), GARBAGE),
        ("220 mail.example ESMTP\r\n".to_owned(), GARBAGE),
        ("HTTP/2 200 OK\r\n\r\n".to_owned(), GARBAGE),
        ("HTTP/1.1 2000 OK\r\n\r\n".to_owned(), GARBAGE),
        ("HTTP/1.1 20 OK\r\n\r\n".to_owned(), GARBAGE),
        ("HTTP/1.1 099 OK\r\n\r\n".to_owned(), GARBAGE),
        ("HTTP/1.1 700 OK\r\n\r\n".to_owned(), GARBAGE),
        ("HTTP/1.x 200 OK\r\n\r\n".to_owned(), GARBAGE),
        (format!("{head}no header\r\n\r\n"), GARBAGE),
        (format!("{head}content-length: 5, 5\r\n\r\nhello"), GARBAGE),
        (format!("{head}content-length: +5\r\n\r\nhello"), GARBAGE),
        (format!("{head}content-length:\r\n\r\nhello"), GARBAGE),
        (
            format!("{head}content-length: {:060}\r\n\r\nhello", 5),
            GARBAGE,
        ),
        (
            format!("{head}content-length: 5\r\ncontent-length: 4\r\n\r\nhello"),
            GARBAGE,
        ),
        (
            format!("{head}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            GARBAGE,
        ),
    ] {
        // Of the longest, a few cuts say enough.
        let seen = match answer.len() < 1000 {
            true => ask_cut(&answer),
            false => ask(&answer.as_bytes().chunks(13).collect::<Vec<_>>()),
        };
        assert_eq!(seen, Err(expected), "{answer:?}");
    }
}

#[test]
fn an_answer_that_comes_before_the_request_was_taken_counts() {
    let post = Post::registration("fleet");
    let mut into = [0; POST_HEAD_BYTES];
    for (answer, expected) in [
        ("HTTP/1.1 413 Too Much\r\n\r\n", Ok(Failure::TooLarge)),
        ("", Err(BROKEN)),
    ] {
        let mut server = Server::new(&[answer.as_bytes()]);
        server.takes = 50;
        let seen = block_on(post.send(&mut server, &[0; 5000], &mut into));
        assert_eq!(seen.map(|answer| answer.failure()), expected);
        assert_eq!(server.heard.len(), 50);
    }
}
