#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lightship_core_fuzz::records::run(bytes));
