//! The end of a link: said once, heard by all.

use kernel::Fault;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Whether a link is of use, and why not.
#[derive(Debug, Default)]
pub(super) struct End {
    fault: Mutex<Option<Fault>>,
    token: CancellationToken,
}

impl End {
    /// Ends it; the first reason stays.
    pub(super) fn because(&self, fault: Fault) {
        self.fault.lock().get_or_insert(fault);
        self.token.cancel();
    }

    /// Why it ended, if it has.
    pub(super) fn reason(&self) -> Option<Fault> {
        self.fault.lock().clone()
    }

    /// Waits for the end.
    pub(super) async fn wait(&self) -> Fault {
        self.token.cancelled().await;
        self.reason().unwrap_or_else(|| Fault::unavailable("the link ended"))
    }
}
