//! Who watches which resource of an upstream: the first watcher subscribes, the last one's leaving unsubscribes.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use kernel::{Code, Fault};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::handler::Watch;

/// Resources of one upstream watched at once.
const WATCHED_MAX: usize = 1_000;

/// The watches of one link.
#[derive(Debug, Clone, Default)]
pub(super) struct Watches {
    by_uri: Arc<Mutex<HashMap<String, Watched>>>,
}

#[derive(Debug)]
struct Watched {
    held: Weak<Held>,
    over: CancellationToken,
}

/// What all watchers of one resource share.
#[derive(Debug)]
struct Held {
    uri: String,
    over: CancellationToken,
    all: Watches,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.over.cancel();
        let mut by_uri = self.all.by_uri.lock();
        // Another may have begun to watch it in between.
        if by_uri.get(&self.uri).is_some_and(|watched| watched.held.strong_count() == 0) {
            by_uri.remove(&self.uri);
        }
    }
}

impl Watches {
    /// Adds a watcher. With the first of a resource comes a token that is cancelled when the last has left.
    ///
    /// # Errors
    /// When too many resources are watched.
    pub(super) fn add(&self, uri: &str) -> Result<(Watch, Option<CancellationToken>), Fault> {
        let mut by_uri = self.by_uri.lock();
        if let Some(held) = by_uri.get(uri).and_then(|watched| watched.held.upgrade()) {
            return Ok((Watch::held_by(held), None));
        }
        if by_uri.len() >= WATCHED_MAX {
            return Err(Fault::new(Code::RateLimited, format!("{WATCHED_MAX} resources are watched already")));
        }
        let over = CancellationToken::new();
        let held = Arc::new(Held { uri: uri.into(), over: over.clone(), all: self.clone() });
        by_uri.insert(uri.into(), Watched { held: Arc::downgrade(&held), over: over.clone() });
        Ok((Watch::held_by(held), Some(over)))
    }

    /// All resources that are watched, each with the token of its end.
    pub(super) fn all(&self) -> Vec<(String, CancellationToken)> {
        let by_uri = self.by_uri.lock();
        by_uri.iter().map(|(uri, watched)| (uri.clone(), watched.over.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_begins_and_the_last_ends() {
        let watches = Watches::default();
        let (first, over) = watches.add("a://1").unwrap();
        let over = over.unwrap();
        let (second, none) = watches.add("a://1").unwrap();
        assert!(none.is_none());
        drop(first);
        assert!(!over.is_cancelled());
        assert_eq!(watches.all().len(), 1);
        drop(second);
        assert!(over.is_cancelled());
        assert!(watches.all().is_empty());
        assert!(watches.add("a://1").unwrap().1.is_some());
    }
}
