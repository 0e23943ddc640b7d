//! The agent that decides.
#![no_std]
#![forbid(unsafe_code)]
