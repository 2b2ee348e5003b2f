//! The fuzzer's way into `targets::traceparent`.

#![no_main]

#[path = "../targets.rs"]
#[expect(dead_code, reason = "each target uses one of them")]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::traceparent(bytes));
