//! The fuzzer's way into `pools::pools`.

#![no_main]

#[path = "../pools.rs"]
mod pools;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pools::pools(bytes));
