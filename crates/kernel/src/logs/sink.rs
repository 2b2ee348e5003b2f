//! A bounded queue in front of the log store: whoever logs never waits; when the store cannot keep up, the oldest lines go and are counted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Level, Line, Logs};
use crate::backoff::Backoff;
use crate::metrics::{LevelLabel, Metrics};
use crate::progress::Progress;
use crate::{OnEnd, Tasks};

/// Lines that wait at most.
const QUEUE_MAX: usize = 16_384;
/// Bytes of lines that wait at most.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// Most lines of one batch.
const BATCH_MAX: usize = 1_024;
/// How long a batch gathers: what one commit costs is shared by all the lines of that time.
const GATHER: Duration = Duration::from_millis(20);
/// Waits between attempts to write.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };

/// Takes log lines. Can be pushed to before the store is open: the lines wait for [`LogSink::start`].
pub struct LogSink {
    state: Mutex<State>,
    filled: Notify,
    progress: Progress,
    metrics: Metrics,
}

#[derive(Default)]
struct State {
    phase: Phase,
    lines: VecDeque<Line>,
    bytes: usize,
}

#[derive(Default, PartialEq, Eq)]
enum Phase {
    #[default]
    NotStarted,
    Runs,
    Ended,
}

impl LogSink {
    /// An empty queue that counts what it writes (`log_lines`) and what it must drop (`log_lines_lost`).
    pub fn new(metrics: Metrics) -> Arc<Self> {
        let (state, filled, progress) = (Mutex::default(), Notify::new(), Progress::default());
        Arc::new(Self { state, filled, progress, metrics })
    }

    /// Starts the task that writes to `logs`. When `tasks` stop it writes what is queued and ends; lines that come later are counted as
    /// lost. Let `tasks` stop after those who log.
    pub fn start(self: &Arc<Self>, logs: Arc<dyn Logs>, tasks: &Tasks) {
        self.state.lock().phase = Phase::Runs;
        let (sink, owner) = (self.clone(), tasks.clone());
        tasks.spawn("log sink", OnEnd::StopOwner, async move { sink.run(&*logs, &owner).await });
    }

    /// Queues a line, and drops the oldest where there is no room. Never waits.
    pub fn push(&self, line: Line) {
        let weight = line.weight();
        let mut lost = 0;
        {
            let mut state = self.state.lock();
            if state.phase == Phase::Ended {
                self.metrics.log_lines_lost.inc();
                return;
            }
            while state.lines.len() >= QUEUE_MAX || state.bytes + weight > QUEUE_BYTES_MAX {
                let Some(oldest) = state.lines.pop_front() else { break };
                state.bytes -= oldest.weight();
                lost += 1;
            }
            self.progress.queued();
            state.bytes += weight;
            state.lines.push_back(line);
        }
        self.filled.notify_one();
        self.lost(lost);
    }

    /// Waits until everything pushed before is written or counted as lost. Returns at once when no task runs that would write.
    pub async fn flush(&self) {
        if self.state.lock().phase == Phase::Runs {
            self.progress.flushed().await;
        }
    }

    fn lost(&self, count: usize) {
        if count > 0 {
            self.metrics.log_lines_lost.inc_by(count as u64);
            self.progress.settled(count);
        }
    }

    fn take(&self) -> Vec<Line> {
        let mut state = self.state.lock();
        let count = state.lines.len().min(BATCH_MAX);
        let batch: Vec<Line> = state.lines.drain(..count).collect();
        state.bytes -= batch.iter().map(Line::weight).sum::<usize>();
        batch
    }

    async fn run(&self, logs: &dyn Logs, owner: &Tasks) {
        let stop = owner.stopping();
        while self.wait(owner).await {
            let batch = self.take();
            match BACKOFF.insist(&stop, "writing log lines", || logs.append(&batch)).await {
                Ok(()) => {
                    self.count(&batch);
                    self.progress.settled(batch.len());
                }
                Err(fault) => {
                    // Only at the end is a batch given up, and then the rest goes with it: this message is a line too,
                    // and it would be the next to fail.
                    let rest = self.end();
                    self.lost(batch.len() + rest);
                    tracing::error!(%fault, lines = batch.len() + rest, "log lines lost: the store cannot be written");
                    return;
                }
            }
        }
    }

    /// Takes no more lines; how many were still waiting.
    fn end(&self) -> usize {
        let mut state = self.state.lock();
        state.phase = Phase::Ended;
        state.bytes = 0;
        std::mem::take(&mut state.lines).len()
    }

    /// Waits for lines, and a moment more for their company. False when there will be no more.
    async fn wait(&self, owner: &Tasks) -> bool {
        let stop = owner.stopping();
        loop {
            {
                let mut state = self.state.lock();
                match state.lines.len() {
                    0 if stop.is_cancelled() => {
                        state.phase = Phase::Ended;
                        return false;
                    }
                    0 => {}
                    BATCH_MAX.. => return true,
                    _ => break,
                }
            }
            tokio::select! {
                () = self.filled.notified() => {}
                () = stop.cancelled() => {}
            }
        }
        tokio::select! {
            () = tokio::time::sleep(GATHER) => {}
            () = stop.cancelled() => {}
        }
        true
    }

    fn count(&self, batch: &[Line]) {
        for level in Level::ALL {
            let count = batch.iter().filter(|line| line.level == level).count();
            if count > 0 {
                let label = LevelLabel { level: level.as_str().into() };
                self.metrics.log_lines.get_or_create(&label).inc_by(count as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{MemoryLogs, World};
    use serde_json::Value;

    fn line(message: String) -> Line {
        Line { seq: 0, at_ms: 0, level: Level::Info, service: "s".into(), message, trace_id: None, fields: Value::Null }
    }

    fn kept(logs: &MemoryLogs) -> Vec<String> {
        logs.all().into_iter().map(|line| line.message).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_pushed_is_written_in_order_and_counted() {
        let world = World::default();
        let sink = LogSink::new(world.metrics.clone());
        sink.push(line("before the start".into()));
        sink.flush().await;
        assert_eq!(kept(&world.logs), [""; 0]);
        sink.start(world.logs.clone(), &world.tasks);
        sink.push(line("after".into()));
        sink.flush().await;
        assert_eq!(kept(&world.logs), ["before the start", "after"]);
        let label = LevelLabel { level: "info".into() };
        assert_eq!(world.metrics.log_lines.get_or_create(&label).get(), 2);
        assert_eq!(world.metrics.log_lines_lost.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_drops_the_oldest_and_counts_them() {
        let world = World::default();
        let sink = LogSink::new(world.metrics.clone());
        for n in 0..QUEUE_MAX + 10 {
            sink.push(line(n.to_string()));
        }
        assert_eq!(world.metrics.log_lines_lost.get(), 10);
        sink.start(world.logs.clone(), &world.tasks);
        sink.flush().await;
        let kept = kept(&world.logs);
        assert_eq!((kept.len(), kept[0].as_str()), (QUEUE_MAX, "10"));
        let big = "x".repeat(QUEUE_BYTES_MAX / 4);
        for _ in 0..5 {
            sink.push(line(big.clone()));
        }
        assert_eq!(world.metrics.log_lines_lost.get(), 12, "bytes are bounded too");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_writes_what_is_queued_then_counts_what_comes_as_lost() {
        let world = World::default();
        let sink = LogSink::new(world.metrics.clone());
        sink.start(world.logs.clone(), &world.tasks);
        for n in 0..3_000 {
            sink.push(line(n.to_string()));
        }
        assert_eq!(world.tasks.drain(Duration::from_secs(1)).await, 0);
        assert_eq!(kept(&world.logs).len(), 3_000);
        sink.push(line("late".into()));
        sink.flush().await;
        assert_eq!(world.metrics.log_lines_lost.get(), 1);
    }
}
