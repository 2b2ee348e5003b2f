//! Links the binary with relocations in their short form, where the loader knows it: 24 bytes for each address that depends on where the binary
//! lies in memory become a bit, a megabyte in all. glibc knows it from 2.36 on, and the machine that builds is the one that runs; others get
//! the long form, and a linker that does not know the word says so and goes on.

use std::process::Command;

#[expect(clippy::disallowed_methods, reason = "cargo tells build scripts what they build for in this way")]
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let variable = |name| std::env::var(name).unwrap_or_default();
    if variable("TARGET") == variable("HOST") && variable("CARGO_CFG_TARGET_ENV") == "gnu" && glibc() >= Some((2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of the C library here, if it is glibc.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
