//! The cases, each a sentence that must be true of every transport.

mod blobs;
mod broken;
mod credentials;
mod messages;

pub use blobs::{
    a_blob_goes_on_after_a_cut, a_blob_is_read_from_any_offset, a_blob_that_is_not_there_is_absent,
};
pub use broken::{
    a_connection_cut_at_any_byte_loses_nothing, a_device_that_takes_nothing_holds_the_fleet_back,
    a_fleet_that_speaks_out_of_order_is_heard_as_it_speaks, a_half_open_connection_is_noticed,
    a_message_that_was_not_handled_comes_again, a_slow_way_still_delivers,
    a_way_that_swaps_and_repeats_changes_nothing, rubbish_is_named_and_the_link_recovers,
};
pub use credentials::{
    refused_credentials_are_not_mistaken_for_an_absent_fleet,
    rotated_credentials_take_over_while_connected, up_means_that_the_credentials_were_taken,
};
pub use messages::{
    a_wait_that_is_dropped_loses_nothing, messages_of_a_device_arrive_in_order,
    messages_of_a_fleet_arrive_in_order_and_once, the_largest_target_arrives_whole,
    what_was_said_while_away_is_heard_on_return, without_a_connection_the_sender_is_told,
};

use std::vec::Vec;

use lightship_core::wire::Up;

use super::{FarEnd, soon};

/// The sequences of the reports among these messages.
fn sequences(heard: &[Up]) -> Vec<u32> {
    let sequence = |message: &Up| match message {
        Up::Report(report) => Some(report.sequence),
        Up::Register(_) | Up::ProposeKey(_) => None,
    };
    heard.iter().filter_map(sequence).collect()
}

/// What the fleet hears until it has heard `count` messages.
async fn hear(far: &mut impl FarEnd, count: usize) -> Vec<Up> {
    let mut heard = Vec::new();
    soon("the fleet hears the messages", async {
        while heard.len() < count {
            heard.extend(far.heard().await);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    })
    .await;
    heard
}
