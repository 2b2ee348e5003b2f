//! A bounded queue in front of the audit trail: callers queue one record, a task appends them by the batch.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Audit, Record};
use crate::backoff::Backoff;
use crate::progress::Progress;
use crate::{OnEnd, Result, Tasks};

/// Records that wait at most; then those who record wait.
const QUEUE_MAX: usize = 8_192;
/// Most records of one batch.
const BATCH_MAX: usize = 1_024;
/// How long a batch gathers: what one commit costs is shared by all the records of that time.
const GATHER: Duration = Duration::from_millis(10);
/// Waits between attempts to append.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(50), max: Duration::from_secs(5) };

/// Records calls without waiting for the disk. Nothing is dropped: when the trail cannot keep up, recording waits. What was recorded is
/// durable about 10 ms later, or after [`Recorder::flush`]; a process killed in between loses those milliseconds.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Record>,
    audit: Arc<dyn Audit>,
    progress: Arc<Progress>,
}

impl Recorder {
    /// Starts the task that appends. When `tasks` stop it appends what is queued and ends; records that come later are appended by
    /// whoever brings them. Let `tasks` stop after those who record.
    pub fn start(audit: Arc<dyn Audit>, tasks: &Tasks) -> Self {
        let (queue, records) = mpsc::channel(QUEUE_MAX);
        let progress = Arc::new(Progress::default());
        let writer = Writer { records, audit: audit.clone(), progress: progress.clone(), stop: tasks.stopping() };
        tasks.spawn("audit recorder", OnEnd::StopOwner, writer.run());
        Self { queue, audit, progress }
    }

    /// Queues a record; waits while the queue is full.
    ///
    /// # Errors
    /// Only once the recorder has stopped: those of [`Audit::append`].
    pub async fn record(&self, record: Record) -> Result<()> {
        let Ok(place) = self.queue.reserve().await else {
            return self.audit.append(&[record]).await;
        };
        self.progress.queued();
        place.send(record);
        Ok(())
    }

    /// Waits until everything recorded before is in the trail, or was given up after a stop and logged.
    pub async fn flush(&self) {
        self.progress.flushed().await;
    }
}

struct Writer {
    records: mpsc::Receiver<Record>,
    audit: Arc<dyn Audit>,
    progress: Arc<Progress>,
    stop: CancellationToken,
}

impl Writer {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while self.gather(&mut batch).await {
            let written =
                BACKOFF.insist(&self.stop, "appending to the audit trail", || self.audit.append(&batch)).await;
            if let Err(fault) = written {
                tracing::error!(%fault, records = batch.len(), "audit records lost: the trail cannot be written");
            }
            self.progress.settled(batch.len());
            batch.clear();
        }
    }

    /// Fills the batch. False when there will be no more.
    async fn gather(&mut self, batch: &mut Vec<Record>) -> bool {
        let first = tokio::select! {
            first = self.records.recv() => first,
            () = self.stop.cancelled() => {
                self.records.close();
                self.records.recv().await
            }
        };
        let Some(first) = first else { return false };
        if self.records.len() < BATCH_MAX {
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = self.stop.cancelled() => {}
            }
        }
        batch.push(first);
        while batch.len() < BATCH_MAX
            && let Ok(next) = self.records.try_recv()
        {
            batch.push(next);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Fault;
    use crate::audit::{AuditQuery, Row, Verdict};
    use crate::fake::MemoryAudit;
    use async_trait::async_trait;
    use tokio::sync::Semaphore;

    fn record(n: u64) -> Record {
        Record {
            at_ms: 0,
            caller: "c".into(),
            role: "viewer".into(),
            server: "s".into(),
            action: n.to_string(),
            arguments: String::new(),
            outcome: "ok".into(),
            result_sha256: String::new(),
            took_us: 0,
            trace_id: String::new(),
        }
    }

    /// A trail that appends only as often as it is allowed to, and fails when it says so.
    struct Gated {
        inner: MemoryAudit,
        gate: Semaphore,
        failures: parking_lot::Mutex<u32>,
    }

    impl Gated {
        fn new(permits: usize, failures: u32) -> Arc<Self> {
            Arc::new(Self {
                inner: MemoryAudit::default(),
                gate: Semaphore::new(permits),
                failures: parking_lot::Mutex::new(failures),
            })
        }
    }

    #[async_trait]
    impl Audit for Gated {
        async fn append(&self, records: &[Record]) -> Result<()> {
            self.gate.acquire().await.expect("never closed").forget();
            if let Some(left) = { self.failures.lock().checked_sub(1) } {
                *self.failures.lock() = left;
                return Err(Fault::unavailable("disk is full"));
            }
            self.inner.append(records).await
        }

        async fn list(&self, query: AuditQuery) -> Result<Vec<Row>> {
            self.inner.list(query).await
        }

        async fn verify(&self) -> Result<Verdict> {
            self.inner.verify().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_order_and_loses_nothing_over_failures() {
        let audit = Gated::new(100, 3);
        let recorder = Recorder::start(audit.clone(), &Tasks::new());
        for n in 0..3_000 {
            recorder.record(record(n)).await.unwrap();
        }
        recorder.flush().await;
        let rows = audit.list(AuditQuery { limit: 1_000, ..AuditQuery::default() }).await.unwrap();
        assert!(rows.iter().map(|row| row.record.action.parse::<u64>().unwrap()).eq((2_000..3_000).rev()));
        assert_eq!(audit.verify().await.unwrap().rows, 3_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_makes_callers_wait() {
        let audit = Gated::new(0, 0);
        let recorder = Recorder::start(audit.clone(), &Tasks::new());
        let fill = async {
            let mut n = 0;
            loop {
                recorder.record(record(n)).await.unwrap();
                n += 1;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), fill).await;
        assert!(waited.is_err(), "it waits rather than growing or dropping");
        audit.gate.add_permits(100);
        recorder.flush().await;
        assert!(audit.verify().await.unwrap().rows >= QUEUE_MAX as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_writes_what_is_queued_and_later_records_still_arrive() {
        let audit = Gated::new(100, 0);
        let tasks = Tasks::new();
        let recorder = Recorder::start(audit.clone(), &tasks);
        for n in 0..10 {
            recorder.record(record(n)).await.unwrap();
        }
        assert_eq!(tasks.drain(Duration::from_secs(1)).await, 0);
        assert_eq!(audit.verify().await.unwrap().rows, 10);
        recorder.record(record(10)).await.unwrap();
        recorder.flush().await;
        assert_eq!(audit.verify().await.unwrap().rows, 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_with_a_broken_trail_ends() {
        let tasks = Tasks::new();
        let recorder = Recorder::start(Gated::new(100, u32::MAX), &tasks);
        recorder.record(record(0)).await.unwrap();
        assert_eq!(tasks.drain(Duration::from_secs(10)).await, 0);
        recorder.flush().await;
    }
}
