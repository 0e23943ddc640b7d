//! Servers that refuse, lie, babble and never end.

#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

#[path = "../fleet/mod.rs"]
mod fleet;

mod answers;
mod blobs;
mod half;
mod servers;
mod talk;

use std::net::SocketAddr;
use std::time::Duration;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use fleet::Fleet;
use fleet::device::device;
use fleet::microcontroller::microcontroller;
use half::Half;
use lightship_core::id::{ApiKey, Digest, Name, ProvisioningKey, PublicKey};
use lightship_core::wire::{Down, NewKey, Refusal, Refused, Register, Rejection, Up};
use lightship_https::{Kind, device as small, host, limits};
use lightship_link::chunk;
use lightship_link::suite::{FarEnd, command, credentials, report, run, soon};
use lightship_link::{
    BlobFailure, Blobs, Credentials, Event, Failure, Known, Link, Misconduct, Secret, Unreachable,
};
use servers::{Then, babbler, keeper};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Makes a test of each for both halves.
macro_rules! of_both_halves {
    ($($group:ident: $($name:ident)*;)*) => {
        mod of_a_host {
            $($(#[test] fn $name() { super::$group::$name::<super::half::Host>(); })*)*
        }
        mod of_a_microcontroller {
            $($(#[test] fn $name() { super::$group::$name::<super::half::Microcontroller>(); })*)*
        }
    };
}

of_both_halves! {
    answers:
        what_is_no_http_is_garbage
        headers_without_end_are_given_up
        a_body_without_end_is_rejected_as_too_large
        a_body_that_ends_early_is_a_broken_connection
        an_answer_without_a_tag_is_misconduct
        the_same_answer_again_and_again_is_misconduct
        a_redirect_is_not_followed
        refusals_and_requests_for_patience_say_how_long
        a_body_in_chunks_is_read
        a_body_whose_chunks_break_off_is_a_broken_connection
        a_chunk_of_no_length_is_named
        a_body_longer_than_its_length_is_not_read_on
        ;
    blobs:
        a_blob_at_another_place_than_asked_is_misconduct
        a_server_that_ignores_ranges_is_read_from_the_beginning
        a_blob_that_breaks_off_is_a_broken_connection
        a_blob_in_chunks_is_read_to_its_end
        a_message_does_not_wait_for_a_blob
        ;
    talk:
        a_device_registers_with_a_provisioning_key_alone
        where_nobody_is_nobody_registers
        a_refused_registration_is_an_answer_and_says_why
        a_proposed_key_is_accepted_by_name
        a_busy_fleet_leaves_the_connection_up
        a_key_that_is_revoked_while_connected_is_a_refusal
        a_server_that_does_not_hold_requests_is_not_asked_at_once
        a_connection_that_was_closed_in_between_is_opened_again
        logs_are_kept_or_it_is_said
        ;
}
