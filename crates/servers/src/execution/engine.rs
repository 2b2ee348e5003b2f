//! The engine of intents: built once the chain answers, and nudged after every block for as long as the service runs.

use std::sync::Arc;
use std::time::Duration;

use kernel::Result;
use kernel::chain::{Address, BlockId, Ground, Hash};
use kernel::intents::{self, Engine, Policy};
use kernel::store::Write;
use market::gate::Outcome;
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

impl Execution {
    /// The engine, built on the first use.
    ///
    /// # Errors
    /// The chain does not answer, or the configuration's figures do not fit.
    pub(super) async fn engine(&self) -> Result<Arc<Engine>> {
        self.engine.get_or_try_init(|| self.build()).await.map(Arc::clone)
    }

    async fn build(&self) -> Result<Arc<Engine>> {
        let status = self.chain.status().await?;
        let realm = match self.chain.ground() {
            Ground::Real => String::new(),
            Ground::Sandbox { .. } => self.sandbox().await?,
        };
        let gate = TradeGate {
            gate: self.gate.clone(),
            chain: Arc::clone(&self.chain),
            abi: Arc::clone(&self.abi),
            bus: Arc::clone(&self.bus),
            figures: self.figures.clone(),
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
        Ok(engine)
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

    /// Which sandbox it is. Where it is not the one that the books are of, what they hold open can never be settled, and is released.
    async fn sandbox(&self) -> Result<String> {
        let first = self.chain.block(BlockId::Number(1)).await?.head.hash;
        let realm = format!("-{}", &first.to_string()[2..2 + REALM_DIGITS]);
        let known = self.store.get(SANDBOX, "realm").await?.map(|entry| entry.value);
        if known.as_ref() != Some(&realm) {
            for reservation in self.gate.all_open().await? {
                let why = "the sandbox that it was on is gone".into();
                self.gate.settle(&reservation.id, &Outcome::Released { why }, &[]).await?;
            }
            self.store.commit(vec![Write::put(SANDBOX, "realm", realm.clone())]).await?;
        }
        Ok(realm)
    }

    /// Looks at the intents after every block, and shows how the books stand, until the service stops.
    pub(super) async fn keep_watching(&self, stopping: CancellationToken) {
        let (mut seen, mut looked): (Option<Hash>, Option<Instant>) = (None, None);
        loop {
            let published = self.bus.published();
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
