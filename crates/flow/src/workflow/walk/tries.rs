//! Attempts: errors caught, tried again after a wait, and handled in the end.

use kernel::UnixMs;

use super::kinds::Here;
use super::{Flow, Walk, next};
use crate::workflow::error::Error;
use crate::workflow::history::{Next, Transition};
use crate::workflow::model::{Backoff, Catch, Expr, Retry, Span, Task};

/// Most attempts where a policy names no limit.
const ATTEMPTS_MAX: usize = 100;
/// Longest wait before an attempt, in milliseconds.
const WAIT_MS_MAX: i64 = 24 * 3_600_000;

impl Walk<'_> {
    /// A `try` task.
    pub(super) fn attempt(&mut self, here: &Here<'_>, tasks: &[Task], catch: &Catch) -> Flow {
        loop {
            let frame = self.frame_of(here.path);
            let began_ms = frame.map_or(self.ground.now_ms, |frame| frame.began_ms);
            let caught = frame.map(|frame| frame.caught.clone()).unwrap_or_default();
            let since_ms = match caught.last() {
                None => began_ms,
                Some((error, None)) => return self.handled(here, catch, error),
                Some((_, Some(due_ms))) if self.ground.now_ms < *due_ms => {
                    self.wake(*due_ms);
                    return Flow::Pending;
                }
                Some((_, Some(due_ms))) => *due_ms,
            };
            let number = if caught.is_empty() { String::new() } else { format!("~{}", caught.len() + 1) };
            let inside = format!("{number}/try");
            let (error, path) = match self.within(here, tasks, &inside, here.input) {
                Flow::Failed(error, path) => (error, path),
                Flow::Pending => match self.attempt_overdue(here, catch, since_ms) {
                    None => return Flow::Pending,
                    Some(error) => {
                        let given_up = format!("{}{inside}", here.path);
                        self.decided.effects.retain(|path, _| !path.starts_with(&given_up));
                        (error, here.path.to_owned())
                    }
                },
                done => return done,
            };
            match self.catches(here, catch, &error) {
                Ok(false) => return Flow::Failed(error, path),
                Ok(true) => {}
                Err(error) => return self.failed(here.task, here.path, error),
            }
            match self.again(here, catch, &error, caught.len() + 1, began_ms) {
                // Nothing is done about it and it was not to be tried forever: it is what the task ends with.
                Ok(None) if catch.retry.is_some() && catch.tasks.is_empty() => return Flow::Failed(error, path),
                Ok(retry_ms) => self.note(Transition::Caught { path: here.path.to_owned(), error, retry_ms }),
                Err(error) => return self.failed(here.task, here.path, error),
            }
        }
    }

    /// With the error as a variable.
    fn with_error<T>(
        &self,
        here: &Here<'_>,
        catch: &Catch,
        error: &Error,
        work: impl FnOnce(&Self, &Here<'_>) -> T,
    ) -> T {
        let mut locals = here.locals.clone();
        locals.push((catch.variable.clone(), error.value()));
        work(self, &Here { locals: &locals, ..*here })
    }

    fn handled(&mut self, here: &Here<'_>, catch: &Catch, error: &Error) -> Flow {
        if catch.tasks.is_empty() {
            return Flow::Done(here.input.clone(), next(&here.task.then));
        }
        let mut locals = here.locals.clone();
        locals.push((catch.variable.clone(), error.value()));
        match self.list(&catch.tasks, &format!("{}/catch/do", here.path), here.input, &locals) {
            Flow::Done(output, Next::End) => Flow::Done(output, Next::End),
            Flow::Done(output, _) => Flow::Done(output, next(&here.task.then)),
            other => other,
        }
    }

    fn catches(&self, here: &Here<'_>, catch: &Catch, error: &Error) -> Result<bool, Error> {
        if !error.fits(&catch.with) {
            return Ok(false);
        }
        self.with_error(here, catch, error, |walk, here| walk.wanted(here, catch.when.as_ref(), catch.except.as_ref()))
    }

    fn wanted(&self, here: &Here<'_>, when: Option<&Expr>, except: Option<&Expr>) -> Result<bool, Error> {
        let when = when.map_or(Ok(true), |when| self.holds(here, when, here.input))?;
        let except = except.map_or(Ok(false), |except| self.holds(here, except, here.input))?;
        Ok(when && !except)
    }

    fn ms(&self, here: &Here<'_>, span: Option<&Span>) -> Result<Option<i64>, Error> {
        span.map(|span| self.with_scope(here, |walk, scope| walk.span_ms(span, here.input, scope))).transpose()
    }

    /// The error of an attempt whose time is over.
    fn attempt_overdue(&mut self, here: &Here<'_>, catch: &Catch, since_ms: UnixMs) -> Option<Error> {
        let limit = catch.retry.as_ref().and_then(|retry| retry.attempt.clone());
        let ms = match self.ms(here, limit.as_ref()) {
            Ok(ms) => ms?,
            Err(error) => return Some(error),
        };
        let due_ms = since_ms.saturating_add(ms);
        if self.ground.now_ms < due_ms || self.decided.more {
            self.wake(due_ms);
            return None;
        }
        Some(
            Error::timeout(format!("an attempt of `{}` has taken longer than {ms} ms", here.task.name))
                .at(&here.task.at),
        )
    }

    /// When a failure is tried again; `None` when it is not. `attempts` were made, the first at `began_ms`.
    fn again(
        &self,
        here: &Here<'_>,
        catch: &Catch,
        error: &Error,
        attempts: usize,
        began_ms: UnixMs,
    ) -> Result<Option<UnixMs>, Error> {
        let Some(retry) = &catch.retry else { return Ok(None) };
        let wanted = self.with_error(here, catch, error, |walk, here| {
            walk.wanted(here, retry.when.as_ref(), retry.except.as_ref())
        })?;
        // `count` is of attempts in all, the first one included.
        let most = retry.count.map_or(ATTEMPTS_MAX, |count| count as usize);
        if !wanted || attempts >= most {
            return Ok(None);
        }
        let wait = self.backed_off(here, retry, attempts)?;
        let due_ms = self.ground.now_ms.saturating_add(wait);
        let limit = self.ms(here, retry.duration.as_ref())?;
        Ok(limit.is_none_or(|limit| due_ms <= began_ms.saturating_add(limit)).then_some(due_ms))
    }

    fn backed_off(&self, here: &Here<'_>, retry: &Retry, attempts: usize) -> Result<i64, Error> {
        let delay = self.ms(here, retry.delay.as_ref())?.unwrap_or(0);
        let nth = i64::try_from(attempts).unwrap_or(i64::MAX);
        let wait = match retry.backoff {
            Backoff::Constant => delay,
            Backoff::Linear => delay.saturating_mul(nth),
            Backoff::Exponential => delay.saturating_mul(1_i64 << (nth - 1).min(40)),
        };
        let jitter = match &retry.jitter {
            Some((from, to)) => {
                let (from, to) = (self.ms(here, Some(from))?.unwrap_or(0), self.ms(here, Some(to))?.unwrap_or(0));
                rand::Rng::random_range(&mut rand::rng(), from.min(to)..=to.max(from))
            }
            None => 0,
        };
        Ok(wait.saturating_add(jitter).min(WAIT_MS_MAX))
    }
}
