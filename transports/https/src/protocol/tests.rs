extern crate std;

use std::format;

use lightship_core::wire::Refusal;
use lightship_link::Failure;

use super::*;

#[test]
fn retry_after_is_seconds_or_a_date_by_the_servers_own_clock() {
    let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(retry_after(Some("120"), None), Some(120));
    assert_eq!(retry_after(Some(" 7 "), date), Some(7));
    let later = Some("Sun, 06 Nov 1994 08:50:37 GMT");
    assert_eq!(retry_after(later, date), Some(60));
    assert_eq!(retry_after(date, later), Some(0), "a date that has passed");
    assert_eq!(retry_after(later, None), None, "no clock to count from");
    for bad in ["", "-1", "1.5", "soon"] {
        assert_eq!(retry_after(Some(bad), date), None, "{bad}");
    }
}

#[test]
fn no_server_silences_a_device_for_more_than_a_day() {
    let year = Some("Mon, 06 Nov 1995 08:49:37 GMT");
    let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
    for value in [year, Some("86401"), Some("99999999999999999999")] {
        assert_eq!(retry_after(value, date), Some(RETRY_AFTER_S));
    }
}

#[test]
fn tags_read_back_and_nothing_else_does() {
    assert_eq!(Tag::parse("\"7\""), Some(Tag::Target(7)));
    assert_eq!(Tag::parse("W/\"root-3\""), Some(Tag::Root(3)));
    assert_eq!(Tag::parse("\"command-9\""), Some(Tag::Command(9)));
    assert_eq!(Tag::parse("\"tunnel-8\""), Some(Tag::Tunnel(8)));
    for bad in [
        "",
        "7",
        "\"",
        "\"\"",
        "\"x\"",
        "\"root-\"",
        "\"-1\"",
        "\"root-4294967296\"",
    ] {
        assert_eq!(Tag::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_device_lists_what_it_has_had() {
    let mut seen = Seen::new(Known {
        counter: 0,
        root: 1,
        command: 4,
    });
    assert_eq!(seen.tags(), "");
    assert!(seen.note(Tag::Target(u64::MAX)));
    assert!(!seen.note(Tag::Target(u64::MAX)));
    assert!(seen.note(Tag::Root(2)));
    assert!(!seen.note(Tag::Command(4)), "a command that was acted on");
    assert!(seen.note(Tag::Command(5)));
    assert_eq!(seen.tags(), "\"18446744073709551615\", \"root-2\"");
    let mut full = seen.clone();
    assert!(full.note(Tag::Root(u32::MAX)));
    assert!(full.note(Tag::Tunnel(u32::MAX)));
    assert!(!full.note(Tag::Tunnel(u32::MAX)));
    assert_eq!(
        full.tags(),
        "\"18446744073709551615\", \"root-4294967295\", \"tunnel-4294967295\""
    );
    assert_eq!(seen.query(), "root=1&command=5");
    seen.trusts(2);
    assert_eq!(seen.query(), "root=2&command=5");
}

#[test]
fn a_refusal_is_found_among_problem_details() {
    let body = br#"{"type":"about:blank","title":"no","status":403,"refused":{"reason":"busy","retry_after_s":30},"more":["x",{"y":1}]}"#;
    let expected = Refused {
        reason: Refusal::Busy,
        retry_after_s: Some(30),
    };
    assert_eq!(refused(body), Some(expected));
    let deep = format!(
        "{{\"x\":{}{},\"refused\":null}}",
        "[".repeat(400),
        "]".repeat(400)
    );
    for bad in [
        "",
        "{}",
        "<html>",
        deep.as_str(),
        r#"{"refused":{"reason":"else"}}"#,
    ] {
        assert_eq!(refused(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn only_401_and_403_speak_of_credentials() {
    for status in 300..600 {
        let is_refusal = matches!(failure(status, None), Failure::Refused { .. });
        assert_eq!(is_refusal, status == 401 || status == 403, "{status}");
    }
}
