//! The fuzzer's way into `encodings::encodings`.

#![no_main]

#[path = "../encodings.rs"]
mod encodings;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| encodings::encodings(bytes));
