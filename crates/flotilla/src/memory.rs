//! What is settled about the process's memory before anything else happens in it.

/// From so many bytes on, a piece of memory is the system's own and goes back when it is freed; and so much that is free at the end of a heap is kept.
#[cfg(target_env = "gnu")]
const WHOLE_BYTES: libc::c_int = 128 << 10;

/// Bounds what is held beyond what is used.
pub fn settle() {
    assert!(evm::remember_hashes(), "nothing is hashed before main");
    give_back();
}

/// The C library raises both bounds to megabytes as large pieces come and go, and then keeps what a node's long answers took in its heaps, in holes.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library is told in no other way")]
fn give_back() {
    for bound in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: it changes how much the allocator keeps, and no thread has been started.
        let taken = unsafe { libc::mallopt(bound, WHOLE_BYTES) };
        assert!(taken == 1, "a bound that the C library knows");
    }
}

#[cfg(not(target_env = "gnu"))]
fn give_back() {}
