//! The fuzzer's way into `figures::intake`.

#![no_main]

#[path = "../figures.rs"]
#[expect(dead_code, reason = "each target uses one of them")]
mod figures;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| figures::intake(bytes));
