//! What gains now.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use kernel::UnixMs;
use kernel::chain::{Address, Amount, FlashSource};
use market::conflict::{Contender, best_set};
use market::feed::At;
use market::lender::{Loan, Opportunity, cheapest_loan, loans};
use market::pool::{AnyPool, Pool};
use market::{Book, Rate};
use mcp::prelude::*;

use super::MarketAnalysis;
use super::costs::{CostsView, Terms};
use super::follow::{Cycle, Excerpt};
use super::view::OpportunityView;
use crate::trading::path;

/// Candidates that are evaluated to the unit: the best by estimate.
pub(super) const EVALUATED_MAX: usize = 100;
/// For how long what was found after a block is shared, at most: prices in the reference currency change without a block too.
const SHARED_MS: i64 = 1_000;
/// Opportunities shown when the request does not say how many.
const SHOWN: usize = 20;

/// What [`SCAN_OPPORTUNITIES`](super::SCAN_OPPORTUNITIES) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScanRequest {
    /// Only cycles from this funding asset: address or symbol.
    #[serde(default)]
    pub funding: Option<String>,
    /// Only what leaves at least so much, in the funding asset's smallest unit; 1 when absent. 0 shows what costs more than it gains, too.
    #[serde(default)]
    pub min_net: Option<Amount>,
    /// How many to show, at most 100; 20 when absent.
    #[serde(default = "shown")]
    #[schemars(range(min = 1, max = 100))]
    pub limit: usize,
}

fn shown() -> usize {
    SHOWN
}

/// What [`SCAN_OPPORTUNITIES`](super::SCAN_OPPORTUNITIES) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ScanAnswer {
    /// The block it is true at.
    #[serde(flatten)]
    pub at: At,
    /// Cycles that gain at the margin after the pools' fees, before all other costs.
    pub candidates: usize,
    /// How many of them, the best by estimate, were sized and priced.
    pub evaluated: usize,
    /// What leaves enough, the best first.
    pub opportunities: Vec<OpportunityView>,
    /// How many more leave enough and are left out here.
    pub omitted: usize,
    /// The ids of those that share no pool and are worth most together.
    pub take_together: Vec<String>,
    /// What was reckoned with.
    pub costs: CostsView,
}

/// An excerpt with everything evaluated.
pub(super) struct Scanned {
    pub(super) at: At,
    pub(super) book: Book,
    pub(super) total: usize,
    pub(super) evaluated: usize,
    /// The best first.
    pub(super) found: Vec<(Address, Opportunity)>,
    pub(super) terms: HashMap<Address, Terms>,
    pub(super) base_fee: Amount,
    /// Every cycle's loans, for the next scan: a block touches few pools, and the others' cycles are as they were.
    loans: HashMap<Along, Arc<Vec<Loan>>>,
}

/// A cycle by its funding asset and its pools, which every book knows.
type Along = (Address, Vec<Address>);

impl Scanned {
    /// Those of what was found that are wanted, the best first.
    pub(super) fn those(&self, wanted: impl Fn(&Opportunity) -> bool) -> Vec<(Address, Opportunity)> {
        self.found.iter().filter(|(_, opportunity)| wanted(opportunity)).cloned().collect()
    }

    /// The loans of a cycle of `book`, if neither its pools nor who lends has changed since.
    fn loans_of(&self, along: &Along, book: &Book, lenders: &[FlashSource]) -> Option<Arc<Vec<Loan>>> {
        let same = along.1.iter().all(|address| pool(&self.book, *address) == pool(book, *address));
        let same = same && self.terms.get(&along.0).is_some_and(|terms| terms.lenders == lenders);
        self.loans.get(along).filter(|_| same).cloned()
    }

    pub(super) fn views(&self, found: &[(Address, Opportunity)]) -> Result<Vec<OpportunityView>, Fault> {
        let view = |(asset, one): &(Address, Opportunity)| OpportunityView::of(one, &self.book, &self.terms[asset]);
        found.iter().map(view).collect()
    }
}

/// Evaluates a cycle.
pub(super) fn priced(book: &Book, cycle: &Cycle, terms: &Terms) -> Result<Option<Opportunity>, Fault> {
    Ok(cheapest_loan(&cycle.hops, &loans_for(book, cycle, &terms.lenders)?, &terms.costs)?)
}

fn loans_for(book: &Book, cycle: &Cycle, lenders: &[FlashSource]) -> Result<Vec<Loan>, Fault> {
    Ok(loans(book, &cycle.hops, lenders, path::estimated(cycle.guess).0)?)
}

fn pool(book: &Book, address: Address) -> Option<&AnyPool> {
    book.find(address).and_then(|id| book.get(id))
}

/// What was found last, and when.
pub(super) type Latest = tokio::sync::Mutex<Option<(Arc<Scanned>, UnixMs)>>;

impl MarketAnalysis {
    /// All opportunities of the newest block, losses after costs too. A block is searched once, however many ask.
    pub(super) async fn scanned(&self, only: Option<Address>) -> Result<Arc<Scanned>, Fault> {
        if only.is_some() {
            return self.scan(only, None).await.map(Arc::new);
        }
        let mut latest = self.latest.lock().await;
        let (at, now_ms) = (self.pools.status().at, self.clock.now_ms());
        if let Some((scanned, since_ms)) = latest.as_ref()
            && Some(scanned.at) == at
            && (0..SHARED_MS).contains(&(now_ms - since_ms))
        {
            return Ok(Arc::clone(scanned));
        }
        let scanned = Arc::new(self.scan(None, latest.as_ref().map(|(scanned, _)| scanned.as_ref())).await?);
        *latest = Some((Arc::clone(&scanned), now_ms));
        Ok(scanned)
    }

    async fn scan(&self, only: Option<Address>, before: Option<&Scanned>) -> Result<Scanned, Fault> {
        let excerpt = self.candidates(|asset| only.is_none_or(|only| only == asset), EVALUATED_MAX).await?;
        let base_fee = self.pricing.base_fee(excerpt.at.block).await?;
        let mut assets: Vec<Address> = excerpt.candidates.iter().map(|cycle| cycle.start).collect();
        assets.sort_unstable();
        assets.dedup();
        let rates = self
            .pools
            .read(|_, book| assets.iter().map(|asset| self.pricing.wei_in(*asset, book)).collect::<Vec<_>>())?;
        let rates = assets.into_iter().zip(rates);
        let terms = rates.map(async |(asset, rate)| Ok::<_, Fault>((asset, self.terms(asset, rate?, base_fee).await?)));
        let terms: HashMap<Address, Terms> = try_join_all(terms).await?.into_iter().collect();
        let Excerpt { at, book, candidates, total } = excerpt;
        let (mut found, mut loans) = (Vec::new(), HashMap::with_capacity(candidates.len()));
        for cycle in &candidates {
            let Terms { lenders, costs, .. } = &terms[&cycle.start];
            let pools = cycle.hops.iter().filter_map(|hop| book.get(hop.pool)).map(Pool::address);
            let along = (cycle.start, pools.collect());
            let known = before.and_then(|before| before.loans_of(&along, &book, lenders));
            let known = match known {
                Some(known) => known,
                None => Arc::new(loans_for(&book, cycle, lenders)?),
            };
            let opportunity = cheapest_loan(&cycle.hops, &known, costs)?;
            found.extend(opportunity.map(|opportunity| (cycle.start, opportunity)));
            loans.insert(along, known);
        }
        let worth = |one: &(Address, Opportunity)| in_wei(&one.1, terms[&one.0].costs.wei_in_asset);
        found.sort_by(|one, other| worth(other).total_cmp(&worth(one)));
        Ok(Scanned { at, book, total, evaluated: candidates.len(), found, terms, base_fee, loans })
    }

    pub(super) async fn scan_opportunities(&self, request: ScanRequest) -> Result<ScanAnswer, Fault> {
        if !(1..=EVALUATED_MAX).contains(&request.limit) {
            return Err(Fault::invalid(format!("limit is {}", request.limit)).hint(format!("1 to {EVALUATED_MAX}")));
        }
        let only = request.funding.map(|word| self.funded(&word)).transpose()?;
        let scanned = self.scanned(only).await?;
        let least = request.min_net.unwrap_or_else(|| Amount::from(1));
        let enough = |one: &Opportunity| least.is_zero() || (!one.net.is_loss() && one.net.size() >= least.0);
        let mut found = scanned.those(enough);
        let omitted = found.len().saturating_sub(request.limit);
        found.truncate(request.limit);
        let opportunities = scanned.views(&found)?;
        let take_together = together(&found, |asset| scanned.terms[&asset].costs.wei_in_asset);
        let take_together = take_together.into_iter().map(|place| opportunities[place].id.clone()).collect();
        Ok(ScanAnswer {
            at: scanned.at,
            candidates: scanned.total,
            evaluated: scanned.evaluated,
            opportunities,
            omitted,
            take_together,
            costs: self.costs_view(scanned.base_fee, scanned.terms.values()),
        })
    }

    /// One of the funding assets.
    pub(super) fn funded(&self, word: &str) -> Result<Address, Fault> {
        let (asset, funding) = (self.coins.find(word)?, self.funding()?);
        if funding.contains(&asset) {
            return Ok(asset);
        }
        Err(Fault::invalid(format!("{word} is no funding asset here"))
            .hint(format!("one of {}", self.config.funding.join(", "))))
    }
}

/// Nearly what is left, in wei: for putting different assets in order.
fn in_wei(opportunity: &Opportunity, wei_in_asset: Rate) -> f64 {
    let size =
        f64::from(opportunity.net.size()) * f64::from(wei_in_asset.denominator) / f64::from(wei_in_asset.numerator);
    if opportunity.net.is_loss() { -size } else { size }
}

/// Those that share no pool and are worth most together, by their places.
pub(super) fn together(found: &[(Address, Opportunity)], wei_in: impl Fn(Address) -> Rate) -> Vec<usize> {
    let contender = |(asset, opportunity): &(Address, Opportunity)| {
        let rate = wei_in(*asset);
        let wei = Rate { numerator: rate.denominator, denominator: rate.numerator };
        Contender {
            worth: wei.down(opportunity.net.above_zero()).unwrap_or_default(),
            pools: opportunity.pools().collect(),
        }
    };
    best_set(&found.iter().map(contender).collect::<Vec<_>>()).chosen
}
