//! Registrations, keys, reports and logs, and fleets that refuse them.

use super::*;

async fn connected<H: Half>(fleet: &mut Fleet, address: std::net::SocketAddr) -> H::Link {
    fleet.admit(&credentials(1)).await;
    let (mut link, _, _) = H::start(address);
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

pub(super) fn a_device_registers_with_a_provisioning_key_alone<H: Half>() {
    run(async {
        let (mut fleet, address) = Fleet::start(None).await;
        let (mut link, _, _) = H::start(address);
        let uuid = credentials(1).uuid;
        let secret = Secret::Provisioning(ProvisioningKey([2; 32]));
        link.connect(&Credentials { uuid, secret }, Known::default());
        assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
        for _ in 0..2 {
            link.send(register()).unwrap();
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

pub(super) fn where_nobody_is_nobody_registers<H: Half>() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let (mut link, _, _) = H::start(address);
        let uuid = credentials(1).uuid;
        let secret = Secret::Provisioning(ProvisioningKey([2; 32]));
        link.connect(&Credentials { uuid, secret }, Known::default());
        let nobody = Failure::Unreachable(Unreachable::Connect);
        assert_eq!(soon("an end", link.next()).await, Event::Down(nobody));
    });
}

pub(super) fn a_refused_registration_is_an_answer_and_says_why<H: Half>() {
    run(async {
        let (fleet, address) = Fleet::start(None).await;
        let problem = r#"{"type":"about:blank","title":"Forbidden","status":403,"refused":{"reason":"bad_provisioning_key","retry_after_s":null}}"#;
        fleet.change(|book| book.refuse = Some((403, Vec::new(), problem)));
        let (mut link, _, _) = H::start(address);
        let uuid = credentials(1).uuid;
        let secret = Secret::Provisioning(ProvisioningKey([2; 32]));
        link.connect(&Credentials { uuid, secret }, Known::default());
        assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
        link.send(register()).unwrap();
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

pub(super) fn a_proposed_key_is_accepted_by_name<H: Half>() {
    run(async {
        let (mut fleet, address) = Fleet::start(None).await;
        let mut link = connected::<H>(&mut fleet, address).await;
        let key = NewKey::Api(ApiKey([5; 32]));
        link.send(Up::ProposeKey(key.clone())).unwrap();
        assert_eq!(soon("sent", link.next()).await, Event::Sent);
        let Event::Message(Down::KeyAccepted(accepted)) = soon("an answer", link.next()).await
        else {
            panic!("no acceptance");
        };
        assert_eq!((accepted.kind, accepted.id), (key.kind(), key.id()));
    });
}

pub(super) fn a_busy_fleet_leaves_the_connection_up<H: Half>() {
    run(async {
        let (mut fleet, address) = Fleet::start(None).await;
        let mut link = connected::<H>(&mut fleet, address).await;
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
        link.send(report(1)).unwrap();
        let event = soon("an outcome", link.next()).await;
        assert_eq!(
            event,
            Event::Unsent(Failure::Busy {
                retry_after_s: Some(9)
            })
        );
        fleet.book.lock().unwrap().refuse = None;
        link.send(report(1)).unwrap();
        assert_eq!(soon("an outcome", link.next()).await, Event::Sent);
    });
}

pub(super) fn a_key_that_is_revoked_while_connected_is_a_refusal<H: Half>() {
    run(async {
        let (mut fleet, address) = Fleet::start(None).await;
        let mut link = connected::<H>(&mut fleet, address).await;
        fleet.expel(&credentials(1)).await;
        let event = soon("an event", link.next()).await;
        assert!(
            matches!(event, Event::Down(Failure::Refused { .. })),
            "{event:?}"
        );
    });
}

pub(super) fn a_server_that_does_not_hold_requests_is_not_asked_at_once<H: Half>() {
    run(async {
        let (mut fleet, address) = Fleet::start(None).await;
        fleet.change(|book| book.impatient = true);
        let mut link = connected::<H>(&mut fleet, address).await;
        let still = tokio::time::timeout(Duration::from_millis(300), link.next()).await;
        assert!(still.is_err(), "{still:?}");
        let asked = fleet.book.lock().unwrap().asked;
        assert!(
            (3..=12).contains(&asked),
            "asked {asked} times in 300 ms, every 30 ms at most"
        );
    });
}

pub(super) fn a_connection_that_was_closed_in_between_is_opened_again<H: Half>() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        let (mut link, mut reader) = keeper::<H>(head, Then::Closes).await;
        let still = tokio::time::timeout(Duration::from_millis(200), link.next()).await;
        assert!(still.is_err(), "{still:?}");
        let mut into = [0; 10];
        for digest in 1..4 {
            let read = reader.read(&Digest([digest; 32]), 0, &mut into).await;
            assert_eq!(read, Ok(3));
        }
    });
}

pub(super) fn logs_are_kept_or_it_is_said<H: Half>() {
    run(async {
        let (mut fleet, address) = Fleet::start(None).await;
        fleet.admit(&credentials(1)).await;
        let (mut link, _, mut logs) = H::start(address);
        let refused = Err(H::UNPROVED);
        assert_eq!(H::append(&mut logs, b"{}\n").await, refused);
        link.connect(&credentials(1), Known::default());
        assert_eq!(soon("up", link.next()).await, Event::Up { resumed: false });
        assert_eq!(H::append(&mut logs, b"{}\n").await, Ok(()));
        assert_eq!(fleet.book.lock().unwrap().logs, b"{}\n");
        let long = vec![0; H::LOG_BYTES + 1];
        let too_large = Err(Failure::TooLarge);
        assert_eq!(H::append(&mut logs, &long).await, too_large);
    });
}
