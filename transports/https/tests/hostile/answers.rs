//! Answers that are none, or not what they say.

use super::*;

pub(super) fn what_is_no_http_is_garbage<H: Half>() {
    run(async {
        let (mut link, _) = babbler::<H>("220 mail.example ESMTP\r\n", b"").await;
        let event = soon("an event", link.next()).await;
        assert_eq!(event, Event::Down(Failure::Misbehaved(Misconduct::Garbage)));
    });
}

pub(super) fn headers_without_end_are_given_up<H: Half>() {
    run(async {
        let (mut link, _) =
            babbler::<H>("HTTP/1.1 200 OK\r\n", b"x: aaaaaaaaaaaaaaaaaaaaaaaa\r\n").await;
        let event = soon("an event", link.next()).await;
        assert!(
            matches!(
                event,
                Event::Down(Failure::Misbehaved(_) | Failure::Unreachable(_))
            ),
            "{event:?}"
        );
    });
}

pub(super) fn a_body_without_end_is_rejected_as_too_large<H: Half>() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nETag: \"7\"\r\n\r\n";
        let (mut link, _) = babbler::<H>(head, b"                                ").await;
        assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
        let event = soon("an event", link.next()).await;
        assert_eq!(event, Event::Rejected(Rejection::TooLarge));
    });
}

pub(super) fn a_body_that_ends_early_is_a_broken_connection<H: Half>() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nETag: \"7\"\r\nContent-Length: 100\r\n\r\n{";
        let (mut link, _) = babbler::<H>(head, b"").await;
        let event = soon("an event", link.next()).await;
        assert_eq!(
            event,
            Event::Down(Failure::Unreachable(Unreachable::Broken))
        );
    });
}

pub(super) fn an_answer_without_a_tag_is_misconduct<H: Half>() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let (mut link, _) = babbler::<H>(head, b"").await;
        let event = soon("an event", link.next()).await;
        assert_eq!(
            event,
            Event::Down(Failure::Misbehaved(Misconduct::Sequence))
        );
    });
}

pub(super) fn the_same_answer_again_and_again_is_misconduct<H: Half>() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nETag: \"command-7\"\r\nContent-Length: 43\r\n\r\n{\"command\":{\"id\":7,\"order\":\"report\"}}      ";
        let (mut link, _) = babbler::<H>(head, b"").await;
        assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
        assert_eq!(soon("it", link.next()).await, Event::Message(command(7)));
        let event = soon("an event", link.next()).await;
        assert_eq!(
            event,
            Event::Down(Failure::Misbehaved(Misconduct::Sequence))
        );
    });
}

pub(super) fn a_redirect_is_not_followed<H: Half>() {
    run(async {
        let (elsewhere, address) = Fleet::start(None).await;
        let head = format!(
            "HTTP/1.1 307 Go\r\nLocation: http://{address}/device/v1/target\r\nContent-Length: 0\r\n\r\n"
        );
        let (mut link, _) = babbler::<H>(Box::leak(head.into_boxed_str()), b"").await;
        let event = soon("an event", link.next()).await;
        assert_eq!(
            event,
            Event::Down(Failure::Misbehaved(Misconduct::Sequence))
        );
        assert_eq!(elsewhere.book.lock().unwrap().asked, 0);
    });
}

pub(super) fn refusals_and_requests_for_patience_say_how_long<H: Half>() {
    run(async {
        for (status, retry_after, expected) in [
            (
                "401 No",
                "17",
                Failure::Refused {
                    retry_after_s: Some(17),
                },
            ),
            (
                "403 No",
                "x",
                Failure::Refused {
                    retry_after_s: None,
                },
            ),
            (
                "429 Slow",
                "5",
                Failure::Busy {
                    retry_after_s: Some(5),
                },
            ),
            (
                "503 Later",
                "Sun, 06 Nov 1994 08:50:37 GMT",
                Failure::Busy {
                    retry_after_s: Some(60),
                },
            ),
            ("502 Proxy", "5", Failure::Unreachable(Unreachable::Server)),
            ("404 Where", "5", Failure::Declined),
        ] {
            let head = format!(
                "HTTP/1.1 {status}\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n"
            );
            let (mut link, _) = babbler::<H>(Box::leak(head.into_boxed_str()), b"").await;
            assert_eq!(soon("an event", link.next()).await, Event::Down(expected));
        }
    });
}

const COMMAND: &str = "{\"command\":{\"id\":7,\"order\":\"report\"}}";

pub(super) fn a_body_in_chunks_is_read<H: Half>() {
    run(async {
        let (first, rest) = COMMAND.split_at(10);
        let head = format!(
            "HTTP/1.1 200 OK\r\nETag: \"command-7\"\r\nTransfer-Encoding: chunked\r\n\r\na\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
            rest.len()
        );
        let (mut link, _) = babbler::<H>(Box::leak(head.into_boxed_str()), b"").await;
        assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
        assert_eq!(soon("it", link.next()).await, Event::Message(command(7)));
    });
}

pub(super) fn a_body_whose_chunks_break_off_is_a_broken_connection<H: Half>() {
    run(async {
        for chunks in [
            "",
            "a",
            "a\r\n{\"comm",
            "a\r\n{\"command\"",
            "a\r\n{\"command\"\r\n",
        ] {
            let head = format!(
                "HTTP/1.1 200 OK\r\nETag: \"command-7\"\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            );
            let (mut link, _) = babbler::<H>(Box::leak(head.into_boxed_str()), b"").await;
            let event = soon("an event", link.next()).await;
            let broken = Event::Down(Failure::Unreachable(Unreachable::Broken));
            assert_eq!(event, broken, "{chunks:?}");
        }
    });
}

pub(super) fn a_chunk_of_no_length_is_named<H: Half>() {
    run(async {
        for chunks in ["soon\r\n{}", "fffffffff\r\n{}", "-1\r\n{}", "1\r\n{}\r\n"] {
            let head = format!(
                "HTTP/1.1 200 OK\r\nETag: \"command-7\"\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            );
            let (mut link, _) = babbler::<H>(Box::leak(head.into_boxed_str()), b"").await;
            let event = soon("an event", link.next()).await;
            assert!(
                matches!(
                    event,
                    Event::Down(Failure::Misbehaved(_) | Failure::Unreachable(Unreachable::Broken))
                ),
                "{chunks:?} became {event:?}"
            );
        }
    });
}

pub(super) fn a_body_longer_than_its_length_is_not_read_on<H: Half>() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nETag: \"7\"\r\nContent-Length: 2000\r\n\r\n";
        let (mut link, _) = babbler::<H>(head, b"                                ").await;
        let event = soon("an event", link.next()).await;
        if event == (Event::Up { resumed: false }) {
            // 2000 blanks are no message; what follows them is no answer.
            let event = soon("an event", link.next()).await;
            assert!(matches!(event, Event::Rejected(_)), "{event:?}");
        } else {
            let garbage = Event::Down(Failure::Misbehaved(Misconduct::Garbage));
            assert_eq!(event, garbage);
        }
    });
}
