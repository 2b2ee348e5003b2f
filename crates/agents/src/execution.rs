//! `execution`: takes the opportunities of each block to the chain, and runs what it is asked to.
//!
//! What gains is market-analysis' word, what may be done the risk rules', which the execution server asks when it submits. It keeps nothing
//! of its own: a submission's key is made of the cycle and of its amounts, so that the same state of the same pools is traded once, by
//! whichever copy, before a restart or after it. What waits for its block keeps its pools to itself until then.

pub(crate) mod jobs;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kernel::chain::Address;
use kernel::{Code, Fault};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use servers::execution::{
    BUILD_ARBITRAGE, BuildRequest, HISTORY, HistoryRequest, IntentView, STATUS, SUBMIT, StatusRequest, SubmitRequest,
};
use servers::market_analysis::{OpportunityView, SCAN_OPPORTUNITIES, ScanRequest};
use servers::production::{LIST_STRATEGIES, ListStrategiesRequest};

use crate::agent::{Agent, Duties, When};
use crate::hands::Hands;
use crate::jobs::Jobs;

/// The strategy that it carries out.
const STRATEGY: &str = "flash-arbitrage";
/// Most submissions after one block: as many as one run may call tools for.
const SUBMISSIONS_MAX: u32 = 12;
/// How many opportunities are asked for.
const LOOKED_AT: usize = 50;
/// How often it looks when no block is told of.
const EVERY: Duration = Duration::from_secs(10);

/// `[agents.execution]` in `flotilla.toml`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Most opportunities that are submitted after one block: 1 to 12.
    pub submissions_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { submissions_max: 4 }
    }
}

/// The agent.
pub struct Execution {
    config: Config,
}

impl Agent for Execution {
    const NAME: &'static str = "execution";
    type Config = Config;

    fn new(config: Config) -> Result<Self, Fault> {
        match config.submissions_max {
            1..=SUBMISSIONS_MAX => Ok(Self { config }),
            other => Err(Fault::invalid(format!("agents.execution.submissions_max is {other}"))
                .hint(format!("1 to {SUBMISSIONS_MAX}"))),
        }
    }

    fn duties(&self, set: &mut Duties<Self>) {
        set.add(
            "trade",
            "Looks for opportunities after every block, and submits those that the risk rules let through.",
            When::every(EVERY).or_on_topic(market::feed::POOLS_TOPIC, &[market::feed::APPLIED_EVENT]),
            Self::trade,
        );
    }

    fn jobs(&self, set: &mut Jobs<Self>) {
        jobs::declare(set);
    }
}

/// What became of the opportunities of a block.
#[derive(Default)]
struct Tally {
    submitted: u32,
    /// Why others were not, each reason once.
    held_back: BTreeSet<String>,
}

impl Execution {
    async fn trade(self: Arc<Self>, hands: Hands) -> Result<String, Fault> {
        // All at once: each takes its time, and a block leaves little.
        let scan = ScanRequest { funding: None, min_net: None, limit: LOOKED_AT };
        let open = HistoryRequest { open: true, ..HistoryRequest::default() };
        let (strategies, scan, open) = tokio::join!(
            hands.call(LIST_STRATEGIES, &ListStrategiesRequest {}),
            hands.call(SCAN_OPPORTUNITIES, &scan),
            hands.call(HISTORY, &open),
        );
        if !strategies?.strategies.iter().any(|one| one.name == STRATEGY && one.state.running) {
            return Ok(format!("{STRATEGY} is not started"));
        }
        let scan = match scan {
            Ok(scan) => scan,
            // Where there is no chain, or its pools are not read yet, there is nothing to do.
            Err(fault) if matches!(fault.code, Code::NotConfigured | Code::Unavailable) => return Ok(fault.message),
            Err(fault) => return Err(fault),
        };
        if scan.take_together.is_empty() {
            return Ok("no opportunity".into());
        }
        let open = open?;
        // What is in a block is in the pools' state already, though it may still leave the chain.
        let waiting = open.submissions.iter().filter(|one: &&IntentView| one.transaction.is_none());
        let mut busy: BTreeSet<Address> = waiting.flat_map(|one| one.pools.clone()).collect();
        let mut tally = Tally::default();
        for one in scan.opportunities.iter().filter(|one| scan.take_together.contains(&one.id)) {
            if tally.submitted >= self.config.submissions_max {
                break;
            }
            let pools: Vec<Address> = one.hops.iter().map(|hop| hop.pool).collect();
            if pools.iter().any(|pool| busy.contains(pool)) {
                tally.held_back.insert("a submission through the same pools is under way".into());
                continue;
            }
            match submit(&hands, one, scan.at.block, pools.clone(), key(one)).await {
                Ok(true) => {
                    tally.submitted += 1;
                    busy.extend(pools);
                }
                Ok(false) => {}
                // What is refused is the rules' good right; what the pools no longer give is gone.
                Err(fault) if matches!(fault.code, Code::PermissionDenied | Code::Reverted | Code::NotFound) => {
                    tally.held_back.insert(fault.message);
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(tally.words())
    }
}

impl Tally {
    fn words(self) -> String {
        let mut words = match self.submitted {
            0 => "nothing submitted".to_owned(),
            1 => "one opportunity submitted".to_owned(),
            count => format!("{count} opportunities submitted"),
        };
        if !self.held_back.is_empty() {
            let reasons: Vec<String> = self.held_back.into_iter().collect();
            words.push_str(&format!("; held back: {}", reasons.join("; ")));
        }
        words
    }
}

/// Submits an opportunity, unless that was done before; says whether it was done now.
async fn submit(
    hands: &Hands,
    one: &OpportunityView,
    block: u64,
    pools: Vec<Address>,
    key: String,
) -> Result<bool, Fault> {
    match hands.call(STATUS, &StatusRequest { key: key.clone() }).await {
        Ok(_) => return Ok(false),
        Err(fault) if fault.code == Code::NotFound => {}
        Err(fault) => return Err(fault),
    }
    let build = BuildRequest {
        funding: one.funding.address.to_string(),
        pools,
        amount: Some(one.amount_in.amount),
        source: Some(one.lender_contract),
        min_profit: None,
        near: None,
        within_limits: true,
        good_for_seconds: None,
    };
    let built = hands.call(BUILD_ARBITRAGE, &build).await?;
    if !built.verdict.allowed {
        let reasons: Vec<String> =
            built.verdict.rules.iter().filter(|one| !one.passed).map(|one| one.in_words()).collect();
        return Err(Fault::denied(reasons.join("; ")));
    }
    let submit = SubmitRequest { key, plan: built.plan, fees: None, valid_blocks: None, found_in: Some(block) };
    hands.call(SUBMIT, &submit).await.map(|_| true)
}

/// Names the cycle in this state of its pools: the same state gives the same amounts.
fn key(one: &OpportunityView) -> String {
    let amounts = one.hops.iter().map(|hop| format!("{}>{}", hop.amount_in, hop.amount_out));
    let state = kernel::ids::digest(amounts.collect::<Vec<_>>().join(",").as_bytes());
    format!("arb-{}-{state}", one.id)
}

#[cfg(test)]
mod tests;
