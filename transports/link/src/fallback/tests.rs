extern crate std;

use std::vec;
use std::vec::Vec;

use embassy_futures::block_on;
use embassy_futures::join::join;
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use lightship_core::id::{ApiKey, Uuid};
use lightship_core::wire::{self, Command, Down, NewKey, Order};

use super::*;
use crate::contract::Secret;
use crate::failure::Unreachable;
use crate::mailbox::{Mailbox, Packet, Port, Wish};

type TestPort<'a> = Port<'a, NoopRawMutex, 64>;
type Links<'a> = Fallback<'a, NoopRawMutex, 2, 64>;

const AWAY: Failure = Failure::Unreachable(Unreachable::Connect);

fn credentials() -> Credentials {
    Credentials {
        uuid: Uuid::from_random([7; 16]),
        secret: Secret::Api(ApiKey([8; 32])),
    }
}

fn proposal() -> Up {
    Up::ProposeKey(NewKey::Api(ApiKey([9; 32])))
}

fn with(test: impl AsyncFnOnce(Links<'_>, TestPort<'_>, TestPort<'_>)) {
    let (mut one, mut two) = (Packet::new(), Packet::new());
    let (mut first, mut second) = (Mailbox::new(&mut one), Mailbox::new(&mut two));
    let ((first, port_1), (second, port_2)) = (first.split(), second.split());
    let links = Fallback::new([first, second], Duration::from_millis(5));
    block_on(test(links, port_1, port_2));
}

/// Events that come while the ports do what `script` says, as text.
async fn watch(
    links: &mut Links<'_>,
    script: impl Future<Output = ()>,
) -> Vec<std::string::String> {
    let mut seen = vec![];
    let mut script = core::pin::pin!(script);
    loop {
        match select(links.next(), script.as_mut()).await {
            Either::First(event) => seen.push(std::format!("{event:?}")),
            Either::Second(()) => return seen,
        }
    }
}

async fn taken(port: &mut TestPort<'_>) -> Wish {
    let wish = port.order().await;
    if wish == Wish::Disconnect {
        port.down(Failure::Closed).await;
    }
    wish
}

/// Waits for a wish to connect; wishes to disconnect are fulfilled.
async fn connecting(port: &mut TestPort<'_>) {
    while taken(port).await == Wish::Disconnect {}
}

async fn say(port: &mut TestPort<'_>, id: u64) {
    let mut out = [0; 64];
    let order = Order::Report;
    let message = Down::Command(Command { id, order });
    port.deliver(wire::encode(&message, &mut out).unwrap())
        .await
        .unwrap();
}

#[test]
fn the_preferred_link_is_used_when_it_works() {
    with(async |mut links, mut one, mut two| {
        links.connect(&credentials(), Known::default());
        let seen = watch(&mut links, async {
            connecting(&mut one).await;
            one.up(true).await;
            one.handled().await;
            assert_eq!(taken(&mut two).await, Wish::Disconnect);
        })
        .await;
        assert_eq!(seen, ["Up { resumed: true }"]);
    });
}

#[test]
fn a_failure_leads_to_the_next_link_and_is_noted() {
    with(async |mut links, mut one, mut two| {
        links.connect(&credentials(), Known::default());
        let seen = watch(&mut links, async {
            connecting(&mut one).await;
            one.down(AWAY).await;
            connecting(&mut two).await;
            two.up(false).await;
            two.handled().await;
        })
        .await;
        let switched = "Switched { to: 1, why: Some(Unreachable(Connect)) }";
        assert_eq!(seen, [switched, "Up { resumed: false }"]);
    });
}

#[test]
fn when_all_fail_the_agent_is_told_once_and_a_refusal_counts_most() {
    with(async |mut links, mut one, mut two| {
        links.connect(&credentials(), Known::default());
        let seen = watch(&mut links, async {
            connecting(&mut one).await;
            one.down(Failure::Refused {
                retry_after_s: None,
            })
            .await;
            connecting(&mut two).await;
            two.down(AWAY).await;
            two.handled().await;
        })
        .await;
        assert_eq!(seen, ["Down(Refused { retry_after_s: None })"]);
    });
}

#[test]
fn the_preferred_link_is_taken_back_and_only_one_acts_at_a_time() {
    with(async |mut links, mut one, mut two| {
        links.connect(&credentials(), Known::default());
        let seen = watch(&mut links, async {
            connecting(&mut one).await;
            one.down(AWAY).await;
            connecting(&mut two).await;
            two.up(false).await;
            // After a while the preferred one is tried again, beside the other.
            connecting(&mut one).await;
            one.up(true).await;
            let preferred = async {
                say(&mut one, 2).await;
                one.handled().await;
            };
            let old = async {
                say(&mut two, 1).await;
                assert_eq!(taken(&mut two).await, Wish::Disconnect);
            };
            join(preferred, old).await;
        })
        .await;
        let command = |id| std::format!("Message(Command(Command {{ id: {id}, order: Report }}))");
        let expected = [
            "Switched { to: 1, why: Some(Unreachable(Connect)) }".into(),
            "Up { resumed: false }".into(),
            command(1),
            "Switched { to: 0, why: None }".into(),
            "Up { resumed: true }".into(),
            command(2),
        ];
        assert_eq!(seen, expected);
    });
}

#[test]
fn a_message_of_the_moment_of_a_switch_goes_over_the_new_link() {
    with(async |mut links, mut one, mut two| {
        links.connect(&credentials(), Known::default());
        watch(&mut links, async {
            connecting(&mut one).await;
            one.down(AWAY).await;
            connecting(&mut two).await;
            two.up(false).await;
            connecting(&mut one).await;
            one.up(false).await;
            while !two.has_order() {
                embassy_futures::yield_now().await;
            }
        })
        .await;
        links.send(proposal()).unwrap();
        assert_eq!(links.send(proposal()), Err(NotTaken));
        let seen = watch(&mut links, async {
            assert_eq!(taken(&mut two).await, Wish::Disconnect);
            assert_eq!(one.outgoing().await, proposal());
            one.sent().await;
            one.handled().await;
        })
        .await;
        assert_eq!(
            seen,
            [
                "Switched { to: 0, why: None }",
                "Up { resumed: false }",
                "Sent"
            ]
        );
    });
}

#[test]
fn a_connection_that_breaks_is_the_agents_to_make_again() {
    with(async |mut links, mut one, mut two| {
        links.connect(&credentials(), Known::default());
        let seen = watch(&mut links, async {
            connecting(&mut one).await;
            one.up(false).await;
            one.down(AWAY).await;
            one.handled().await;
        })
        .await;
        assert_eq!(
            seen,
            ["Up { resumed: false }", "Down(Unreachable(Connect))"]
        );
        assert_eq!(two.order().await, Wish::Disconnect);
        assert!(!two.has_order());
    });
}

#[test]
fn a_device_that_has_registered_begins_with_the_preferred_link_again() {
    with(async |mut links, mut one, mut two| {
        let enrolling = Credentials {
            secret: Secret::Provisioning(lightship_core::id::ProvisioningKey([1; 32])),
            ..credentials()
        };
        links.connect(&enrolling, Known::default());
        watch(&mut links, async {
            connecting(&mut one).await;
            one.down(AWAY).await;
            connecting(&mut two).await;
            two.up(false).await;
            two.handled().await;
        })
        .await;
        links.connect(&credentials(), Known::default());
        let seen = watch(&mut links, async {
            connecting(&mut one).await;
            one.up(false).await;
            one.handled().await;
        })
        .await;
        assert!(seen.contains(&"Up { resumed: false }".into()), "{seen:?}");
    });
}

#[test]
fn links_that_are_not_used_are_not_tried() {
    with(async |links, mut one, _two| {
        let mut links = links.using(1);
        links.connect(&credentials(), Known::default());
        let seen = watch(&mut links, async {
            connecting(&mut one).await;
            one.down(AWAY).await;
            one.handled().await;
        })
        .await;
        assert_eq!(seen, ["Down(Unreachable(Connect))"]);
    });
}

#[test]
fn a_request_for_patience_is_not_lost_in_the_failures_of_others() {
    with(async |mut links, mut one, mut two| {
        links.connect(&credentials(), Known::default());
        let busy = Failure::Busy {
            retry_after_s: Some(60),
        };
        let seen = watch(&mut links, async {
            connecting(&mut one).await;
            one.down(busy).await;
            connecting(&mut two).await;
            two.down(AWAY).await;
            two.handled().await;
        })
        .await;
        assert_eq!(seen, ["Down(Busy { retry_after_s: Some(60) })"]);
    });
}

#[test]
fn a_link_that_let_nothing_through_is_not_the_first_to_be_tried_again() {
    with(async |mut links, mut one, mut two| {
        links.connect(&credentials(), Known::default());
        let seen = watch(&mut links, async {
            connecting(&mut one).await;
            one.up(false).await;
            one.down(AWAY).await;
            one.handled().await;
        })
        .await;
        assert_eq!(seen.len(), 2, "{seen:?}");
        links.connect(&credentials(), Known::default());
        let seen = watch(&mut links, async {
            connecting(&mut two).await;
            two.up(false).await;
            two.handled().await;
        })
        .await;
        let switched = "Switched { to: 1, why: Some(Unreachable(Connect)) }";
        assert_eq!(seen, [switched, "Up { resumed: false }"]);
    });
}

#[test]
fn a_link_that_let_something_through_is_tried_first_again() {
    with(async |mut links, mut one, _two| {
        for _ in 0..2 {
            links.connect(&credentials(), Known::default());
            let seen = watch(&mut links, async {
                connecting(&mut one).await;
                one.up(false).await;
                say(&mut one, 1).await;
                one.down(AWAY).await;
                one.handled().await;
            })
            .await;
            assert_eq!(seen.len(), 3, "{seen:?}");
        }
    });
}

#[test]
fn a_connection_that_is_asked_for_anew_leaves_no_other_behind() {
    with(async |mut links, mut one, mut two| {
        links.connect(&credentials(), Known::default());
        watch(&mut links, async {
            connecting(&mut one).await;
            one.down(AWAY).await;
            connecting(&mut two).await;
        })
        .await;
        // The second one is being connected when the agent has waited long enough.
        links.connect(&credentials(), Known::default());
        assert_eq!(taken(&mut two).await, Wish::Disconnect);
        assert!(matches!(taken(&mut one).await, Wish::Connect(..)));
    });
}
