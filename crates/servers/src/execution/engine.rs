//! The engine of intents: built once the chain answers, and nudged after every block for as long as the service runs.

use std::sync::Arc;
use std::time::Duration;

use kernel::chain::{Address, CHAIN_TOPIC, Ground, Hash};
use kernel::intents::{self, Engine, Policy};
use kernel::store::Write;
use kernel::{Fault, Result};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Execution;
use super::gate::TradeGate;

/// How often intents are looked at while no block comes.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often is looked for a new block, where nobody tells of one.
const NUDGE_EVERY: Duration = Duration::from_millis(200);
/// How long a failure is slept over.
const PAUSE: Duration = Duration::from_secs(1);
/// Where it is kept which sandbox the books are of.
const SANDBOX: &str = "execution.sandbox";
/// How many hexadecimal digits of its first block's hash tell a sandbox from another.
const REALM_DIGITS: usize = 16;

/// The engine in use.
pub(super) struct Current {
    engine: Arc<Engine>,
    /// The sandbox that it is of.
    origin: Option<Hash>,
}

impl Execution {
    /// The engine, built on the first use, and anew for a sandbox that was made anew.
    ///
    /// # Errors
    /// The chain does not answer, or the configuration's figures do not fit.
    pub(super) async fn engine(&self) -> Result<Arc<Engine>> {
        let of_now = |kept: &Option<Current>| {
            let current = kept.as_ref().filter(|current| current.origin == self.chain.origin());
            current.map(|current| Arc::clone(&current.engine))
        };
        if let Some(engine) = of_now(&*self.engine.read().await) {
            return Ok(engine);
        }
        let mut kept = self.engine.write().await;
        if let Some(engine) = of_now(&kept) {
            return Ok(engine);
        }
        let (engine, origin) = self.build().await?;
        *kept = Some(Current { engine: Arc::clone(&engine), origin });
        Ok(engine)
    }

    async fn build(&self) -> Result<(Arc<Engine>, Option<Hash>)> {
        let status = self.chain.status().await?;
        let origin = self.chain.origin();
        let realm = match (self.chain.ground(), origin) {
            (Ground::Real, _) => String::new(),
            (Ground::Sandbox { .. }, Some(origin)) => self.sandbox(origin).await?,
            (Ground::Sandbox { .. }, None) => {
                return Err(Fault::unavailable("the sandbox does not stand yet").hint("try again in a moment"));
            }
        };
        let gate = TradeGate {
            gate: self.gate.clone(),
            chain: Arc::clone(&self.chain),
            abi: Arc::clone(&self.abi),
            bus: Arc::clone(&self.bus),
            figures: self.figures.clone(),
            origin,
        };
        let parts = intents::Parts {
            store: Arc::clone(&self.store),
            bus: Arc::clone(&self.bus),
            clock: self.clock.clone(),
            chain: Arc::clone(&self.chain),
            chain_id: status.chain_id,
            realm,
            sender: Arc::clone(&self.wallet.sender),
            relay: self.wallet.relay.clone(),
            wallet: self.address(),
            signer: self.wallet.signer.clone(),
            gate: Arc::new(gate),
            policy: self.policy(),
        };
        let engine = Arc::new(Engine::new(parts)?);
        engine.reconcile().await?;
        Ok((engine, origin))
    }

    pub(super) fn policy(&self) -> Policy {
        Policy {
            confirmations: self.config.confirmations,
            stuck_after_ms: i64::from(self.config.stuck_after_seconds) * 1_000,
            bump_percent: self.config.bump_percent,
            ..Policy::default()
        }
    }

    /// The wallet: the key's, or one that is only pretended.
    pub(super) fn address(&self) -> Address {
        self.wallet.signer.as_ref().map_or_else(super::paper::wallet, |signer| signer.address())
    }

    /// Names the sandbox. Where it is not the one that the books are of, new books are begun.
    async fn sandbox(&self, origin: Hash) -> Result<String> {
        let realm = format!("-{}", &origin.to_string()[2..2 + REALM_DIGITS]);
        let known = self.store.get(SANDBOX, "realm").await?.map(|entry| entry.value);
        if known.as_ref() != Some(&realm) {
            self.gate.begin(&realm[1..]).await?;
            self.store.commit(vec![Write::put(SANDBOX, "realm", realm.clone())]).await?;
        }
        Ok(realm)
    }

    /// Looks at the intents after every block, and shows how the books stand, until the service stops.
    pub(super) async fn keep_watching(&self, stopping: CancellationToken) {
        let (mut seen, mut looked): (Option<Hash>, Option<Instant>) = (None, None);
        loop {
            let published = self.bus.published(&[CHAIN_TOPIC]);
            let head = self.chain.head().map(|head| head.hash);
            let due = head != seen || looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
            let pause = match due {
                false => NUDGE_EVERY,
                true => match self.look().await {
                    Ok(()) => {
                        (seen, looked) = (head, Some(Instant::now()));
                        NUDGE_EVERY
                    }
                    Err(fault) => {
                        self.note(Some(fault.clone()));
                        PAUSE
                    }
                },
            };
            tokio::select! {
                () = stopping.cancelled() => return,
                () = published, if pause == NUDGE_EVERY => {}
                () = sleep(pause) => {}
            }
        }
    }

    async fn look(&self) -> Result<()> {
        let engine = self.engine().await?;
        engine.reconcile().await?;
        self.figures.show(&self.gate.desk().await?);
        self.note(None);
        Ok(())
    }

    /// Says once that intents cannot be looked at, and once that they can again.
    fn note(&self, trouble: Option<kernel::Fault>) {
        let mut held = self.trouble.lock();
        if held.as_ref().map(|fault| &fault.message) != trouble.as_ref().map(|fault| &fault.message) {
            match &trouble {
                Some(fault) => tracing::warn!(%fault, "intents cannot be looked at"),
                None => tracing::info!("intents are looked at again"),
            }
        }
        *held = trouble;
    }
}
