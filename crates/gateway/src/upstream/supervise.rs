//! Keeps an upstream there: reaches it, listens to it, reaches it again when it is gone, and gives up in a way that is heard of.

use std::sync::Arc;
use std::time::Duration;

use kernel::backoff::Backoff;
use kernel::metrics::RouteLabel;
use kernel::{Fault, Tasks};
use mcp::Change;
use serde_json::json;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};

use super::Upstream;
use super::live::Live;
use super::status::State;
use super::tools::{self, Tools, as_fault};

/// Waits between attempts. The first is short: most deaths are accidents, and callers wait.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(30) };
/// Failures in a row after which it is given up.
const GIVE_UP: u32 = 10;
/// How often one that was given up is tried all the same.
const GIVEN_UP_AGAIN: Duration = Duration::from_secs(300);
/// After this long, what failed before no longer counts.
const STABLE: Duration = Duration::from_secs(60);
/// How often its tools are read again without a reason: not every upstream says when they change.
const REFRESH_EVERY: Duration = Duration::from_secs(300);
/// How long it may take to answer whether it is still there.
const LOOK_TIME: Duration = Duration::from_secs(5);
/// Changes heard by sessions and not yet passed on.
const HEARD_MAX: usize = 256;

/// How long to wait between two announcements of changed lists: an upstream that makes many is heard as one that makes few.
const NEWS_GAP: Duration = Duration::from_millis(250);

/// Lists that an upstream said have changed, and clients were not told of yet.
struct News {
    tools: bool,
    prompts: bool,
    resources: bool,
    not_before: Instant,
}

impl Default for News {
    fn default() -> Self {
        Self { tools: false, prompts: false, resources: false, not_before: Instant::now() }
    }
}

impl News {
    /// Waits until there is something to tell and it is time to.
    async fn due(&self) {
        if self.tools || self.prompts || self.resources {
            sleep_until(self.not_before).await;
        } else {
            std::future::pending().await
        }
    }
}

/// What the supervisor is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nudge {
    /// A call found nobody there.
    Look,
    /// Judge its tools again: what is trusted has changed.
    Judge,
    /// Begin anew.
    Restart,
}

/// Why the supervisor let go.
enum End {
    Stopped,
    Restart,
    Lost(Fault),
}

impl Upstream {
    /// Runs until the upstream's tasks are stopped.
    pub(super) async fn supervise(self: Arc<Self>, mut nudges: mpsc::Receiver<Nudge>) {
        let stopping = self.tasks.stopping();
        let mut failures = 0;
        loop {
            self.stands(State::Starting, failures, None);
            let ended = tokio::select! {
                ended = self.live_once(&mut nudges, &mut failures) => ended,
                () = stopping.cancelled() => End::Stopped,
            };
            self.let_go().await;
            match ended {
                End::Stopped => break,
                End::Restart => {
                    failures = 0;
                    continue;
                }
                End::Lost(fault) => {
                    failures += 1;
                    self.failed(failures, &fault);
                }
            }
            let wait = if failures >= GIVE_UP { GIVEN_UP_AGAIN } else { BACKOFF.wait(failures) };
            let deadline = Instant::now() + wait;
            loop {
                tokio::select! {
                    () = sleep_until(deadline) => break,
                    nudge = nudges.recv() => if nudge == Some(Nudge::Restart) {
                        failures = 0;
                        break;
                    },
                    () = stopping.cancelled() => return self.stands(State::Stopped, failures, None),
                }
            }
            let label = RouteLabel { target: self.spec.name.clone() };
            self.means.metrics.upstream_restarts.get_or_create(&label).inc();
            self.restarted();
        }
        self.stands(State::Stopped, failures, None);
    }

    fn failed(&self, failures: u32, fault: &Fault) {
        let name = &self.spec.name;
        let given_up = failures >= GIVE_UP;
        tracing::warn!(upstream = name, failures, given_up, %fault, "upstream failed");
        self.stands(if given_up { State::Failed } else { State::BackingOff }, failures, Some(fault.clone()));
        if failures == GIVE_UP {
            let data = json!({ "name": name, "failures": failures, "error": fault.to_string() });
            self.means.events.publish("upstream.failed", data);
        }
    }

    /// One life of the upstream.
    async fn live_once(&self, nudges: &mut mpsc::Receiver<Nudge>, failures: &mut u32) -> End {
        let (heard, mut from_sessions) = mpsc::channel(HEARD_MAX);
        let live = match self.reach(heard, self.tasks.child()).await {
            Ok(live) => live,
            Err(fault) => return End::Lost(fault),
        };
        // Heard from before the tools are read, so that no change falls between.
        let mut changes = live.shared.changes();
        if let Err(fault) = self.refresh(&live).await {
            live.close().await;
            return End::Lost(fault);
        }
        self.serve(&live);
        self.stands(self.serving(), 0, None);
        self.means.events.publish("upstream.ready", json!({ "name": self.spec.name }));
        let mut again = interval_at(Instant::now() + REFRESH_EVERY, REFRESH_EVERY);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stable = sleep(STABLE);
        tokio::pin!(stable);
        let mut is_stable = false;
        let mut news = News::default();
        loop {
            let step = tokio::select! {
                fault = live.shared.ended() => Err(fault),
                change = changes.recv() => self.heard(&mut news, change),
                Some(change) = from_sessions.recv() => self.heard(&mut news, Ok(change)),
                () = news.due() => self.tell(&mut news, &live).await,
                _ = again.tick() => self.refresh(&live).await.map(drop),
                nudge = nudges.recv() => match nudge {
                    Some(Nudge::Look) => self.look(&live).await,
                    Some(Nudge::Judge) => self.judge().await,
                    Some(Nudge::Restart) => return End::Restart,
                    None => return End::Stopped,
                },
                () = &mut stable, if !is_stable => {
                    is_stable = true;
                    *failures = 0;
                    Ok(())
                }
            };
            if let Err(fault) = step {
                return End::Lost(fault);
            }
        }
    }

    async fn reach(&self, heard: mpsc::Sender<Change>, tasks: Tasks) -> Result<Arc<Live>, Fault> {
        let means = self.spec.means(&*self.means.secrets, &self.means.inherited)?;
        let was = self.revision();
        let live = Live::connect(&self.spec, &means, was, &self.means.about_us, heard, tasks).await;
        if live.is_err() {
            // It may have changed what it speaks: next time it is asked again.
            self.forget_revision();
        }
        Ok(Arc::new(live?))
    }

    fn heard(&self, news: &mut News, change: Result<Change, broadcast::error::RecvError>) -> Result<(), Fault> {
        match change {
            Ok(Change::Tools) => news.tools = true,
            Ok(Change::Prompts) => news.prompts = true,
            Ok(Change::Resources) => news.resources = true,
            Ok(change) => self.announce(change),
            Err(broadcast::error::RecvError::Lagged(_)) => {
                (news.tools, news.prompts, news.resources) = (true, true, true);
            }
            Err(broadcast::error::RecvError::Closed) => return Err(Fault::unavailable("the link ended")),
        }
        Ok(())
    }

    /// Tells of the lists that changed; reads the tools anew first.
    async fn tell(&self, news: &mut News, live: &Live) -> Result<(), Fault> {
        let told = std::mem::replace(news, News { not_before: Instant::now() + NEWS_GAP, ..News::default() });
        if told.prompts {
            self.announce(Change::Prompts);
        }
        if told.resources {
            self.announce(Change::Resources);
        }
        if told.tools && !self.refresh(live).await? {
            // It says so itself, though nothing that we look at is different.
            self.announce(Change::Tools);
        }
        Ok(())
    }

    /// Reads and judges the tools. Returns whether something is different, and was announced.
    async fn refresh(&self, live: &Live) -> Result<bool, Fault> {
        let name = &self.spec.name;
        let _judging = self.judging.lock().await;
        let fresh = tools::read(&*live.shared, name, &self.means.pins, self.spec.trust_annotations).await?;
        Ok(self.settle(fresh))
    }

    /// Judges its tools as they are known.
    pub(super) async fn judge(&self) -> Result<(), Fault> {
        let _judging = self.judging.lock().await;
        let known = self.tools().all().to_vec();
        let fresh = tools::judged(known, &self.spec.name, &self.means.pins).await?;
        self.settle(fresh);
        Ok(())
    }

    /// Puts tools into force, and says what is different. Returns whether something is.
    fn settle(&self, fresh: Tools) -> bool {
        let name = &self.spec.name;
        let before = self.take_tools(fresh);
        let tools = self.tools();
        let known = before.held();
        for held in tools.held().into_iter().filter(|held| !known.contains(held)) {
            tracing::warn!(upstream = name, tool = held.name, why = held.why, "tool quarantined");
            self.means
                .events
                .publish("upstream.quarantined", json!({ "name": name, "tool": held.name, "why": held.why }));
        }
        if self.is_serving() {
            self.stands(self.serving(), 0, None);
        }
        let different = !tools.look_like(&before);
        if different {
            self.announce(Change::Tools);
        }
        different
    }

    /// Whether it is still there.
    async fn look(&self, live: &Live) -> Result<(), Fault> {
        let method = if live.shared.revision().is_modern() { "server/discover" } else { "ping" };
        match timeout(LOOK_TIME, tools::ask(&*live.shared, method, &json!({}))).await {
            Ok(Ok(_) | Err(mcp::LinkError::Rpc(_))) => Ok(()),
            Ok(Err(error)) => Err(as_fault(error)),
            Err(_) => Err(Fault::timeout(format!("{} did not answer in {} s", self.spec.name, LOOK_TIME.as_secs()))),
        }
    }
}
