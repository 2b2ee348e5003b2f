//! The fuzzer's way into `figures::exposition`.

#![no_main]

#[path = "../figures.rs"]
#[expect(dead_code, reason = "each target uses one of them")]
mod figures;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| figures::exposition(bytes));
