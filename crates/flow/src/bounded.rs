//! Work that computes for long: on a thread of its own, a few at a time, and within limits that it checks itself.
//!
//! A thread cannot be stopped from outside. So what may run for long, or deep, calls [`check`] as it goes, and ends with its fault.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::{Fault, Tasks};
use tokio::sync::Semaphore;

/// The stack of a computation that does not go deep, in bytes.
pub const STACK: usize = 16 << 20;
/// Largest answer, in bytes.
pub const ANSWER_MAX: usize = 8 << 20;

/// Lets a few computations in at once.
#[derive(Clone)]
pub struct Gate {
    tasks: Tasks,
    permits: Arc<Semaphore>,
    time: Duration,
}

#[derive(Clone, Copy)]
struct Meter {
    ends: Instant,
    time: Duration,
    /// The address of something on the stack when the work began.
    stack_top: usize,
    /// How far the stack may grow from there; the rest is for what runs between two checks.
    stack_room: usize,
}

thread_local! {
    static METER: Cell<Option<Meter>> = const { Cell::new(None) };
}

impl Gate {
    /// Lets `at_once` computations in at a time, each for `time` from when its turn comes.
    pub fn new(tasks: Tasks, at_once: usize, time: Duration) -> Self {
        Self { tasks, permits: Arc::new(Semaphore::new(at_once)), time }
    }

    /// Runs `work` on a stack of `stack` bytes.
    pub async fn run<T, F>(&self, name: &'static str, stack: usize, work: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Fault> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.map_err(|_| Fault::internal("the gate of computations is closed"))?;
        let time = self.time;
        let metered = move || {
            // Held by the work, not by whoever waits for it: a caller who left does not make room.
            let _permit = permit;
            let marker = 0u8;
            METER.set(Some(Meter {
                ends: Instant::now() + time,
                time,
                stack_top: std::ptr::from_ref(&marker).addr(),
                stack_room: stack / 4,
            }));
            work()
        };
        self.tasks.compute(name, stack, metered).await?
    }
}

/// Whether the computation on this thread may go on.
///
/// # Errors
/// `timeout` when its time is over, `too_large` when it is nested too deep.
pub fn check() -> Result<(), Fault> {
    let Some(meter) = METER.get() else { return Ok(()) };
    if Instant::now() > meter.ends {
        let text = format!("it took longer than {} s", meter.time.as_secs());
        return Err(Fault::timeout(text).hint("give it less to do"));
    }
    let marker = 0u8;
    if meter.stack_top.abs_diff(std::ptr::from_ref(&marker).addr()) > meter.stack_room {
        return Err(Fault::too_large("nested too deep").hint("nest less, or recur less"));
    }
    Ok(())
}

/// When the time of the computation on this thread is over.
pub fn ends() -> Option<Instant> {
    METER.get().map(|meter| meter.ends)
}

/// Refuses text of more than `max` bytes.
pub fn check_size(what: &str, text: &str, max: usize) -> Result<(), Fault> {
    if text.len() <= max {
        return Ok(());
    }
    Err(Fault::too_large(format!("{what} has {} bytes", text.len())).hint(format!("at most {max}")))
}

/// Refuses an answer of more than [`ANSWER_MAX`] bytes, before it is made.
pub fn check_answer(size: usize) -> Result<(), Fault> {
    if size <= ANSWER_MAX {
        return Ok(());
    }
    Err(Fault::too_large(format!("the answer has more than {ANSWER_MAX} bytes"))
        .hint("give it less to do, or ask for less"))
}

/// The start of a text that may be long, for a message.
pub fn shown(text: &str) -> String {
    const CHARS: usize = 60;
    match text.char_indices().nth(CHARS) {
        Some((at, _)) => format!("`{}…`", &text[..at]),
        None => format!("`{text}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn time_and_depth_are_bounded_and_the_next_one_runs() {
        fn deep(n: u64) -> Result<u64, Fault> {
            check()?;
            Ok(deep(n + 1)?.wrapping_add(n))
        }
        let gate = Gate::new(Tasks::new(), 1, Duration::from_millis(50));
        let fault = gate.run("deep", 1 << 20, || deep(0)).await.unwrap_err();
        assert_eq!(fault.to_string(), "too_large: nested too deep (nest less, or recur less)");
        let endless = || -> Result<(), Fault> {
            loop {
                check()?;
            }
        };
        let fault = gate.run("endless", 1 << 20, endless).await.unwrap_err();
        assert_eq!(fault.to_string(), "timeout: it took longer than 0 s (give it less to do)");
        assert_eq!(gate.run("short", 1 << 20, || Ok(1)).await, Ok(1));
        assert_eq!(check(), Ok(()), "no limit where there is no meter");
    }
}
