//! Servers that refuse, lie, babble and never end.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod fleet;

use std::time::Duration;

use fleet::Fleet;
use fleet::device::{Link as Device, device};
use lightship_core::id::{ApiKey, Digest, Name, ProvisioningKey, PublicKey};
use lightship_core::wire::{Down, NewKey, Refusal, Refused, Register, Rejection, Up};
use lightship_https::host::{Config, Kind, Reader};
use lightship_link::suite::{FarEnd, command, credentials, report, run, soon};
use lightship_link::{
    BlobFailure, Blobs, Credentials, Event, Failure, Known, Link, Misconduct, Secret, Unreachable,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that answers every request with `head` and then with `body` for ever, if it is not empty.
async fn babbler(head: &'static str, body: &'static [u8]) -> (Device, Reader) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                let mut request = [0; 2048];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(head.as_bytes()).await;
                while !body.is_empty() && stream.write_all(body).await.is_ok() {}
            });
        }
    });
    let config = Config::new(&format!("http://{address}"), b"").unwrap();
    let (mut link, reader, _) = device(config);
    link.connect(&credentials(1), Known::default());
    (link, reader)
}

async fn connected(fleet: &mut Fleet, address: std::net::SocketAddr) -> Device {
    fleet.admit(&credentials(1)).await;
    let config = Config::new(&format!("http://{address}"), b"").unwrap();
    let (mut link, _, _) = device(config);
    link.connect(&credentials(1), Known::default());
    assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
    link
}

fn register() -> Up {
    Up::Register(Register {
        uuid: credentials(1).uuid,
        provisioning_key: ProvisioningKey([2; 32]),
        api_key: ApiKey([1; 32]),
        wireguard: PublicKey([4; 32]),
        device_type: Name::new("raspberrypi4").unwrap(),
        name: None,
    })
}

#[test]
fn what_is_no_http_is_garbage() {
    run(async {
        let (mut link, _) = babbler("220 mail.example ESMTP\r\n", b"").await;
        let event = soon("an event", link.next()).await;
        assert_eq!(event, Event::Down(Failure::Misbehaved(Misconduct::Garbage)));
    });
}

#[test]
fn headers_without_end_are_given_up() {
    run(async {
        let (mut link, _) =
            babbler("HTTP/1.1 200 OK\r\n", b"x: aaaaaaaaaaaaaaaaaaaaaaaa\r\n").await;
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

#[test]
fn a_body_without_end_is_rejected_as_too_large() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nETag: \"7\"\r\n\r\n";
        let (mut link, _) = babbler(head, b"                                ").await;
        assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
        let event = soon("an event", link.next()).await;
        assert_eq!(event, Event::Rejected(Rejection::TooLarge));
    });
}

#[test]
fn a_body_that_ends_early_is_a_broken_connection() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nETag: \"7\"\r\nContent-Length: 100\r\n\r\n{";
        let (mut link, _) = babbler(head, b"").await;
        let event = soon("an event", link.next()).await;
        assert_eq!(
            event,
            Event::Down(Failure::Unreachable(Unreachable::Broken))
        );
    });
}

#[test]
fn an_answer_without_a_tag_is_misconduct() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        let (mut link, _) = babbler(head, b"").await;
        let event = soon("an event", link.next()).await;
        assert_eq!(
            event,
            Event::Down(Failure::Misbehaved(Misconduct::Sequence))
        );
    });
}

#[test]
fn the_same_answer_again_and_again_is_misconduct() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nETag: \"command-7\"\r\nContent-Length: 43\r\n\r\n{\"command\":{\"id\":7,\"order\":\"report\"}}      ";
        let (mut link, _) = babbler(head, b"").await;
        assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
        assert_eq!(soon("it", link.next()).await, Event::Message(command(7)));
        let event = soon("an event", link.next()).await;
        assert_eq!(
            event,
            Event::Down(Failure::Misbehaved(Misconduct::Sequence))
        );
    });
}

#[test]
fn a_redirect_is_not_followed() {
    run(async {
        let (elsewhere, address) = Fleet::start(None).await;
        let head = format!(
            "HTTP/1.1 307 Go\r\nLocation: http://{address}/device/v1/target\r\nContent-Length: 0\r\n\r\n"
        );
        let (mut link, _) = babbler(Box::leak(head.into_boxed_str()), b"").await;
        let event = soon("an event", link.next()).await;
        assert_eq!(
            event,
            Event::Down(Failure::Misbehaved(Misconduct::Sequence))
        );
        assert_eq!(elsewhere.book.lock().unwrap().asked, 0);
    });
}

#[test]
fn refusals_and_requests_for_patience_say_how_long() {
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
            let (mut link, _) = babbler(Box::leak(head.into_boxed_str()), b"").await;
            assert_eq!(soon("an event", link.next()).await, Event::Down(expected));
        }
    });
}

#[test]
fn a_blob_at_another_place_than_asked_is_misconduct() {
    run(async {
        let head =
            "HTTP/1.1 206 Part\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\nfghij";
        let (_link, mut reader) = babbler(head, b"").await;
        let mut into = [0; 10];
        let digest = Digest([1; 32]);
        assert_eq!(reader.read(&digest, 5, &mut into).await, Ok(5));
        let failure = BlobFailure::Link(Failure::Misbehaved(Misconduct::Sequence));
        assert_eq!(reader.read(&digest, 3, &mut into).await, Err(failure));
    });
}

#[test]
fn a_server_that_ignores_ranges_is_read_from_the_beginning() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcdefghij";
        let (_link, mut reader) = babbler(head, b"").await;
        let mut into = [0; 10];
        assert_eq!(reader.read(&Digest([1; 32]), 7, &mut into).await, Ok(3));
        assert_eq!(&into[..3], b"hij");
        assert_eq!(reader.read(&Digest([1; 32]), 10, &mut into).await, Ok(0));
    });
}

#[test]
fn a_device_registers_with_a_provisioning_key_alone() {
    run(async {
        let (mut fleet, address) = Fleet::start(None).await;
        let config = Config::new(&format!("http://{address}"), b"").unwrap();
        let (mut link, _, _) = device(config);
        let uuid = credentials(1).uuid;
        let secret = Secret::Provisioning(ProvisioningKey([2; 32]));
        link.connect(&Credentials { uuid, secret }, Known::default());
        assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
        for _ in 0..2 {
            link.send(&register()).unwrap();
            assert_eq!(soon("sent", link.next()).await, Event::Sent);
            let event = soon("an answer", link.next()).await;
            assert!(
                matches!(event, Event::Message(Down::Registered(_))),
                "{event:?}"
            );
        }
        assert_eq!(fleet.heard().await, [register(), register()]);
        link.connect(&credentials(1), Known::default());
        assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
    });
}

#[test]
fn a_refused_registration_is_an_answer_and_says_why() {
    run(async {
        let (fleet, address) = Fleet::start(None).await;
        let problem = r#"{"type":"about:blank","title":"Forbidden","status":403,"refused":{"reason":"bad_provisioning_key","retry_after_s":null}}"#;
        fleet.change(|book| book.refuse = Some((403, Vec::new(), problem)));
        let config = Config::new(&format!("http://{address}"), b"").unwrap();
        let (mut link, _, _) = device(config);
        let uuid = credentials(1).uuid;
        let secret = Secret::Provisioning(ProvisioningKey([2; 32]));
        link.connect(&Credentials { uuid, secret }, Known::default());
        assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
        link.send(&register()).unwrap();
        assert_eq!(soon("sent", link.next()).await, Event::Sent);
        let refused = Refused {
            reason: Refusal::BadProvisioningKey,
            retry_after_s: None,
        };
        assert_eq!(
            soon("an answer", link.next()).await,
            Event::Message(Down::Refused(refused))
        );
    });
}

#[test]
fn a_proposed_key_is_accepted_by_name() {
    run(async {
        let (mut fleet, address) = Fleet::start(None).await;
        let mut link = connected(&mut fleet, address).await;
        let key = NewKey::Api(ApiKey([5; 32]));
        link.send(&Up::ProposeKey(key.clone())).unwrap();
        assert_eq!(soon("sent", link.next()).await, Event::Sent);
        let Event::Message(Down::KeyAccepted(accepted)) = soon("an answer", link.next()).await
        else {
            panic!("no acceptance");
        };
        assert_eq!((accepted.kind, accepted.id), (key.kind(), key.id()));
    });
}

#[test]
fn a_busy_fleet_leaves_the_connection_up() {
    run(async {
        let (mut fleet, address) = Fleet::start(None).await;
        let mut link = connected(&mut fleet, address).await;
        let busy = Some((429, vec![("retry-after", "9".to_owned())], ""));
        // Without news, so that the request that is held does not hear of it; and it must be held by then.
        soon("a held request", async {
            while fleet.book.lock().unwrap().asked < 2 {
                tokio::select! {
                    event = link.next() => panic!("{event:?}"),
                    () = tokio::time::sleep(Duration::from_millis(1)) => {}
                }
            }
        })
        .await;
        fleet.book.lock().unwrap().refuse = busy;
        link.send(&report(1)).unwrap();
        let event = soon("an outcome", link.next()).await;
        assert_eq!(
            event,
            Event::Unsent(Failure::Busy {
                retry_after_s: Some(9)
            })
        );
        fleet.book.lock().unwrap().refuse = None;
        link.send(&report(1)).unwrap();
        assert_eq!(soon("an outcome", link.next()).await, Event::Sent);
    });
}

#[test]
fn a_key_that_is_revoked_while_connected_is_a_refusal() {
    run(async {
        let (mut fleet, address) = Fleet::start(None).await;
        let mut link = connected(&mut fleet, address).await;
        fleet.expel(&credentials(1)).await;
        let event = soon("an event", link.next()).await;
        assert!(
            matches!(event, Event::Down(Failure::Refused { .. })),
            "{event:?}"
        );
    });
}

#[test]
fn a_server_that_does_not_hold_requests_is_not_asked_at_once() {
    run(async {
        let (mut fleet, address) = Fleet::start(None).await;
        fleet.change(|book| book.impatient = true);
        let mut link = connected(&mut fleet, address).await;
        let still = tokio::time::timeout(Duration::from_millis(300), link.next()).await;
        assert!(still.is_err(), "{still:?}");
        let asked = fleet.book.lock().unwrap().asked;
        assert!(
            (3..=12).contains(&asked),
            "asked {asked} times in 300 ms, every 30 ms at most"
        );
    });
}

#[test]
fn logs_are_kept_or_it_is_said() {
    run(async {
        let (mut fleet, address) = Fleet::start(None).await;
        fleet.admit(&credentials(1)).await;
        let config = Config::new(&format!("http://{address}"), b"").unwrap();
        let (mut link, _, mut logs) = device(config);
        let refused = Err(Failure::Refused {
            retry_after_s: None,
        });
        assert_eq!(
            logs.append(Kind::Lines, (&b"{}\n"[..]).into()).await,
            refused
        );
        link.connect(&credentials(1), Known::default());
        assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
        assert_eq!(
            logs.append(Kind::Lines, (&b"{}\n"[..]).into()).await,
            Ok(())
        );
        assert_eq!(fleet.book.lock().unwrap().logs, b"{}\n");
        let long = vec![0; lightship_https::limits::LOG_BYTES + 1];
        assert_eq!(
            logs.append(Kind::Defmt, long.into()).await,
            Err(Failure::TooLarge)
        );
    });
}
