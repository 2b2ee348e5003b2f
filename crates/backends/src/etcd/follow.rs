//! Following what changes on etcd: a watch, and when what stands there ends by the clock.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use kernel::{Fault, Result, UnixMs};
use serde_json::json;

use super::wire::{Kept, Kv, Ranged, Watched, end_of, key64};
use super::{Etcd, PAGE};

/// A watch that says nothing for so long is opened again: nobody tells when the way to a silent one has broken.
const SILENCE: Duration = Duration::from_secs(30);
/// How long opening one may take.
const OPEN_TIME: Duration = Duration::from_secs(5);

/// When what stands on etcd ends.
#[derive(Default)]
pub(super) struct Mirror {
    /// Whether it is kept up by a watch.
    live: bool,
    by_key: HashMap<String, UnixMs>,
    ends: BTreeSet<(UnixMs, String)>,
}

impl Mirror {
    fn put(&mut self, key: &str, end: Option<UnixMs>) {
        self.take(key);
        if let Some(end) = end {
            self.by_key.insert(key.to_owned(), end);
            self.ends.insert((end, key.to_owned()));
        }
    }

    fn take(&mut self, key: &str) {
        if let Some(end) = self.by_key.remove(key) {
            self.ends.remove(&(end, key.to_owned()));
        }
    }

    /// Forgets what has ended by now. Whether there was anything.
    fn forget_ended(&mut self, now_ms: UnixMs) -> bool {
        let mut any = false;
        while let Some((end, key)) = self.ends.first().cloned().filter(|(end, _)| *end <= now_ms) {
            self.ends.remove(&(end, key.clone()));
            self.by_key.remove(&key);
            any = true;
        }
        any
    }
}

impl Etcd {
    /// Wakes who waits when something has ended. Refuses while no watch would say what else happens.
    pub(super) fn look_for_ends(&self) -> Result<u64> {
        let (live, ended) = {
            let mut mirror = self.mirror.lock();
            (mirror.live, mirror.forget_ended(self.clock.now_ms()))
        };
        if ended {
            self.changed.wake();
        }
        if live { Ok(0) } else { Err(Fault::unavailable("etcd is not watched")) }
    }

    /// Follows for as long as it is polled.
    pub(super) async fn follow(&self) {
        loop {
            let ended = self.follow_once().await;
            if let Err(fault) = ended {
                self.mirror.lock().live = false;
                self.reach.lost(&fault);
                self.changed.wake();
                tokio::time::sleep(self.reach.next_try()).await;
            }
        }
    }

    /// Opens a watch and follows it until it ends, or says nothing.
    async fn follow_once(&self) -> Result<()> {
        let revision = tokio::time::timeout(OPEN_TIME, self.read_all()).await.unwrap_or_else(|_| Err(self.silent()))?;
        let create = json!({ "create_request": {
            "key": key64(&self.prefix), "range_end": end_of(&self.prefix), "start_revision": (revision + 1).to_string(),
        } });
        let opening = self.http.open("watch", &create);
        let mut watch = tokio::time::timeout(OPEN_TIME, opening).await.unwrap_or_else(|_| Err(self.silent()))?;
        loop {
            let Ok(line) = tokio::time::timeout(SILENCE, watch.line()).await else { return Ok(()) };
            let Some(line) = line? else { return Err(self.http.gone("ended the watch")) };
            let told: Watched = serde_json::from_slice(&line).map_err(|error| {
                Fault::unavailable(format!("etcd at {} says what cannot be read: {error}", self.http.place()))
            })?;
            let Some(told) = told.result else { return Err(self.http.gone("refused the watch")) };
            if told.canceled {
                // Compacted, or restored from a backup: all is read anew in a moment.
                return Err(self.http.gone("ended the watch"));
            }
            self.take_in(&told.events, told.created);
        }
    }

    fn take_in(&self, events: &[super::wire::Event], created: bool) {
        {
            let mut mirror = self.mirror.lock();
            mirror.live = true;
            for event in events {
                match event.kind.as_deref() {
                    Some("DELETE") => mirror.take(&event.kv.key),
                    _ => mirror.put(&event.kv.key, end(&event.kv)),
                }
            }
        }
        self.reach.answered();
        if created || !events.is_empty() {
            self.changed.wake();
        }
    }

    /// Reads when everything ends. Answers as of which revision.
    async fn read_all(&self) -> Result<u64> {
        let mut mirror = Mirror::default();
        let (mut from, mut revision) = (self.prefix.clone(), None);
        loop {
            let page = json!({ "key": key64(&from), "range_end": end_of(&self.prefix), "limit": PAGE.to_string() });
            let page: Ranged = self.http.post("kv/range", &page).await?;
            let first = *revision.get_or_insert(page.header.revision);
            page.kvs.iter().for_each(|kv| mirror.put(&kv.key, end(kv)));
            match page.kvs.last() {
                Some(last) if page.more => from = format!("{}\0", last.key),
                _ => {
                    let mut known = self.mirror.lock();
                    mirror.live = known.live;
                    *known = mirror;
                    return Ok(first);
                }
            }
        }
    }

    fn silent(&self) -> Fault {
        self.http.gone(&format!("gave no answer within {} s", OPEN_TIME.as_secs()))
    }
}

fn end(kv: &Kv) -> Option<UnixMs> {
    Kept::of(kv).and_then(|kept| kept.expires_ms)
}
