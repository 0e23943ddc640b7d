//! The conformance suite: what every transport must pass.
//!
//! A transport brings a [`Subject`]: how to start a device's half, a far end that can be told what to say, and a [`Way`] between them that cuts, freezes and slows.
//! [`conformance!`](crate::conformance) makes one test of each case.
//! The cases speak of the contract alone, so a transport that passes them can take another's place.

mod actor;
pub mod cases;
pub mod certificate;
pub mod figures;
mod sample;
mod way;

pub use actor::{Actor, soon};
pub use sample::{command, credentials, report, target};
pub use way::Way;

use std::vec::Vec;

use lightship_core::id::Digest;
use lightship_core::wire::{Down, Up};

use crate::contract::{Blobs, Credentials, Link};

/// A transport under test.
#[allow(async_fn_in_trait, reason = "tests run on one thread")]
pub trait Subject: Sized {
    /// The device's messages.
    type Link: Link;
    /// The device's blobs.
    type Blobs: Blobs;
    /// The fleet.
    type Far: FarEnd;

    /// Most places that a conversation is cut at, spread evenly over its bytes; each byte unless their number is bounded because they are alike, as those of a TLS record are.
    const CUTS: u64 = u64::MAX;

    /// Starts both halves, with their runners as local tasks; nothing when a tool is missing, after saying `SKIPPED`.
    async fn start() -> Option<Rig<Self>>;

    /// What a far end may send that is not a message. Each is to be rejected by name, or to close the connection as misconduct.
    fn rubbish() -> Vec<Vec<u8>>;
}

/// Both halves of a transport and the way between them.
pub struct Rig<S: Subject> {
    /// The device's messages.
    pub link: S::Link,
    /// The device's blobs.
    pub blobs: S::Blobs,
    /// The fleet.
    pub far: S::Far,
    /// What lies between.
    pub way: Way,
}

/// A fleet that does what a test says.
#[allow(async_fn_in_trait, reason = "tests run on one thread")]
pub trait FarEnd {
    /// Lets a device in from now on.
    async fn admit(&mut self, credentials: &Credentials);
    /// Lets it in no longer.
    async fn expel(&mut self, credentials: &Credentials);
    /// Says something, and goes on saying it until it is acknowledged. A target has the counter `counter`.
    async fn say(&mut self, message: &Down<'_>, counter: u64);
    /// Sends bytes where a message should be.
    async fn say_raw(&mut self, bytes: &[u8]);
    /// What was heard since the last call.
    async fn heard(&mut self) -> Vec<Up>;
    /// Keeps a blob for the device to fetch.
    async fn keep(&mut self, blob: Vec<u8>) -> Digest;
}

/// Makes a test of each case for a [`Subject`].
#[macro_export]
macro_rules! conformance {
    ($subject:ty) => {
        $crate::conformance! { @each $subject:
            up_means_that_the_credentials_were_taken
            refused_credentials_are_not_mistaken_for_an_absent_fleet
            rotated_credentials_take_over_while_connected
            messages_of_a_device_arrive_in_order
            messages_of_a_fleet_arrive_in_order_and_once
            the_largest_target_arrives_whole
            without_a_connection_the_sender_is_told
            what_was_said_while_away_is_heard_on_return
            a_message_that_was_not_handled_comes_again
            a_connection_cut_at_any_byte_loses_nothing
            a_way_that_swaps_and_repeats_changes_nothing
            a_fleet_that_speaks_out_of_order_is_heard_as_it_speaks
            a_half_open_connection_is_noticed
            a_slow_way_still_delivers
            a_device_that_takes_nothing_holds_the_fleet_back
            a_wait_that_is_dropped_loses_nothing
            rubbish_is_named_and_the_link_recovers
            a_blob_is_read_from_any_offset
            a_blob_goes_on_after_a_cut
            a_blob_that_is_not_there_is_absent
        }
    };
    (@each $subject:ty: $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::suite::check($crate::suite::cases::$case::<$subject>);
            }
        )*
    };
}

/// Runs a case of the suite, unless a tool is missing.
pub fn check<S: Subject>(case: impl AsyncFnOnce(Rig<S>)) {
    run(async {
        if let Some(rig) = begin().await {
            case(rig).await;
        }
    });
}

/// Both halves of a transport, whose fleet lets [`credentials(1)`](credentials()) in.
async fn begin<S: Subject>() -> Option<Rig<S>> {
    let mut rig = S::start().await?;
    rig.far.admit(&credentials(1)).await;
    Some(rig)
}

/// Runs a case on one thread, where runners are local tasks.
pub fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    tokio::task::LocalSet::new().block_on(&runtime, case);
}
