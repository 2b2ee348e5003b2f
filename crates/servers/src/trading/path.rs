//! Paths through pools: found in the book, taken out of it, and quoted hop by hop.

use kernel::chain::{Address, Amount};
use kernel::{Fault, Result};
use market::pool::{AnyPool, Pool, Quote, Way};
use market::search::{Hop, Search};
use market::{Book, PoolId, sizing};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::One;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ratio;

/// A pool as it was at a block, and which way through it.
#[derive(Debug, Clone)]
pub(crate) struct Leg {
    pub(crate) pool: AnyPool,
    pub(crate) way: Way,
}

/// Which side of a trade is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exact {
    In(Amount),
    Out(Amount),
}

impl Exact {
    /// Exactly one of the two must be given.
    pub(crate) fn of(amount_in: Option<Amount>, amount_out: Option<Amount>) -> Result<Self> {
        match (amount_in, amount_out) {
            (Some(amount), None) => Ok(Self::In(amount)),
            (None, Some(amount)) => Ok(Self::Out(amount)),
            (None, None) => Err(Fault::invalid("no amount").hint("give `amount_in` or `amount_out`")),
            (Some(_), Some(_)) => {
                Err(Fault::invalid("both an amount in and an amount out").hint("give the one that is exact"))
            }
        }
    }
}

/// What a path does with an amount.
#[derive(Debug, Clone)]
pub(crate) struct Trade {
    pub(crate) legs: Vec<Leg>,
    pub(crate) quotes: Vec<Quote>,
}

/// One pool on the way.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HopView {
    /// The pool.
    pub pool: Address,
    /// The exchange.
    pub dex: String,
    /// The fee on what goes in, in millionths: 3000 is 0.3 %.
    pub fee_millionths: u32,
    /// What goes in.
    pub token_in: Address,
    /// How much goes in, in the smallest unit.
    pub amount_in: Amount,
    /// What comes out.
    pub token_out: Address,
    /// How much comes out, in the smallest unit.
    pub amount_out: Amount,
    /// Initialised ticks that are crossed.
    pub ticks_crossed: u32,
}

impl HopView {
    /// What a quote takes and gives at a pool.
    pub(crate) fn of(pool: &AnyPool, way: Way, quote: &Quote) -> Self {
        let (token_in, token_out) = pool.identity().ends(way);
        Self {
            pool: pool.address(),
            dex: pool.identity().protocol.as_str().into(),
            fee_millionths: pool.fee_millionths(),
            token_in,
            amount_in: Amount(quote.amount_in),
            token_out,
            amount_out: Amount(quote.amount_out),
            ticks_crossed: quote.ticks_crossed,
        }
    }
}

impl Leg {
    /// What goes in and what comes out.
    pub(crate) fn ends(&self) -> (Address, Address) {
        self.pool.identity().ends(self.way)
    }

    /// The price at the margin before the fee.
    pub(crate) fn price(&self) -> Result<BigRational> {
        self.pool.spot_price(self.way).map(|price| ratio::of(&price)).map_err(|error| self.refusal(error))
    }

    pub(crate) fn refusal(&self, error: market::Error) -> Fault {
        Fault::from(error).context(format!("pool {}", self.pool.address()))
    }

    fn quote(&self, exact: Exact) -> Result<Quote> {
        let (quote, asked) = match exact {
            Exact::In(amount) => (self.pool.quote_exact_in(self.way, amount.0), amount),
            Exact::Out(amount) => (self.pool.quote_exact_out(self.way, amount.0), amount),
        };
        let quote = quote.map_err(|error| self.refusal(error))?;
        if quote.filled {
            return Ok(quote);
        }
        let (what, most) = match exact {
            Exact::In(_) => ("takes", quote.amount_in),
            Exact::Out(_) => ("gives", quote.amount_out),
        };
        Err(Fault::invalid(format!("pool {}: its liquidity ends before {asked}", self.pool.address()))
            .hint(format!("it {what} {most} at most, in the smallest unit")))
    }
}

impl Trade {
    /// Through all legs, exactly.
    pub(crate) fn along(legs: Vec<Leg>, exact: Exact) -> Result<Self> {
        let mut quotes = Vec::with_capacity(legs.len());
        match exact {
            Exact::In(mut amount) => {
                for leg in &legs {
                    let quote = leg.quote(Exact::In(amount))?;
                    amount = Amount(quote.amount_out);
                    quotes.push(quote);
                }
            }
            Exact::Out(mut amount) => {
                for leg in legs.iter().rev() {
                    let quote = leg.quote(Exact::Out(amount))?;
                    amount = Amount(quote.amount_in);
                    quotes.push(quote);
                }
                quotes.reverse();
            }
        }
        Ok(Self { legs, quotes })
    }

    /// Hop by hop.
    pub(crate) fn hops(&self) -> Vec<HopView> {
        self.legs.iter().zip(&self.quotes).map(|(leg, quote)| HopView::of(&leg.pool, leg.way, quote)).collect()
    }

    /// What goes in at the start.
    pub(crate) fn amount_in(&self) -> Amount {
        self.quotes.first().map_or_else(Amount::default, |quote| Amount(quote.amount_in))
    }

    /// What comes out at the end.
    pub(crate) fn amount_out(&self) -> Amount {
        self.quotes.last().map_or_else(Amount::default, |quote| Amount(quote.amount_out))
    }

    /// An estimate of the gas burnt inside the pools.
    pub(crate) fn gas(&self) -> u64 {
        self.quotes.iter().map(|quote| quote.gas).sum()
    }

    /// What really comes out for one that goes in.
    pub(crate) fn effective(&self) -> BigRational {
        ratio::ratio(ratio::whole(self.amount_out()), ratio::whole(self.amount_in()))
    }

    /// The price at the margin along the path, before fees.
    pub(crate) fn spot(&self) -> Result<BigRational> {
        self.legs.iter().try_fold(BigRational::one(), |product, leg| Ok(product * leg.price()?))
    }

    /// The part that the fees along the path leave.
    pub(crate) fn kept(&self) -> BigRational {
        self.legs
            .iter()
            .map(|leg| ratio::kept(leg.pool.fee_millionths()))
            .fold(BigRational::one(), |all, one| all * one)
    }
}

/// The legs along these pools, in their order. Each pool is passed once: a second passage would meet another price than is quoted here.
pub(crate) fn along(book: &Book, from: Address, to: Address, pools: &[Address]) -> Result<Vec<Leg>> {
    if pools.len() > sizing::PATH_HOPS_MAX {
        return Err(Fault::too_large(format!("a path of {} pools", pools.len()))
            .hint(format!("at most {}", sizing::PATH_HOPS_MAX)));
    }
    let (mut legs, mut at) = (Vec::with_capacity(pools.len()), from);
    for (place, address) in pools.iter().enumerate() {
        if pools[..place].contains(address) {
            return Err(Fault::invalid(format!("pool {address} is in the path twice")).hint("each pool once"));
        }
        let pool = find(book, *address)?;
        let way = pool.identity().way_from(at).ok_or_else(|| {
            let [first, second] = pool.tokens();
            Fault::invalid(format!("pool {address} does not trade {at}"))
                .hint(format!("it trades {first} and {second}"))
        })?;
        at = pool.identity().ends(way).1;
        legs.push(Leg { pool: pool.clone(), way });
    }
    if at != to {
        return Err(
            Fault::invalid(format!("the path ends at {at}, not at {to}")).hint("one more pool, or another last one")
        );
    }
    Ok(legs)
}

/// A pool that is followed.
pub(crate) fn find(book: &Book, address: Address) -> Result<&AnyPool> {
    let pool = book.find(address).and_then(|id| book.get(id));
    pool.ok_or_else(|| {
        Fault::not_found(format!("pool {address} is not followed"))
            .hint("list_pools of dex-services has those that are")
    })
}

/// Every pool that trades one for the other.
pub(crate) fn direct(book: &Book, from: Address, to: Address) -> Vec<Leg> {
    let leg = |pool: &AnyPool| {
        let way = pool.identity().way_from(from)?;
        (pool.identity().ends(way).1 == to).then(|| Leg { pool: pool.clone(), way })
    };
    book.iter().filter_map(|(_, pool)| leg(pool)).collect()
}

/// What a pool's curve holds of the output around its price.
pub(crate) fn depth(leg: &Leg) -> Option<Amount> {
    match &leg.pool {
        AnyPool::ConstantProduct(pair) => Some(ratio::amount(pair.reserves()[leg.way.output()])),
        AnyPool::ConcentratedLiquidity(pool) => {
            // Virtual reserves around the price: L·√P of the second token, L/√P of the first.
            let (root, liquidity) = pool.begins_at(leg.way)?;
            let root = ratio::ratio(ratio::whole(Amount(root)), BigInt::from(1) << 96u32);
            let liquidity = BigRational::from(ratio::whole(ratio::amount(liquidity)));
            let held = if leg.way.zero_for_one() { liquidity * root } else { liquidity / root };
            held.to_integer().to_string().parse().ok()
        }
    }
}

/// Near the best input of a cycle: where the search would begin for it.
pub(crate) fn near_best(book: &Book, funding: Address, hops: &[Hop], first: &Leg) -> f64 {
    let mut search = Search::new(&[(funding, 1.0)], hops.len());
    let all: Vec<PoolId> = book.iter().map(|(id, _)| id).collect();
    search.follow(book, &all);
    let found = search.candidates().iter().find(|candidate| candidate.cycle.hops() == hops);
    // A cycle that gains nothing at the margin has none: any number will do.
    let back = Leg { pool: first.pool.clone(), way: first.way.back() };
    found.map_or_else(|| depth(&back).map_or(1.0, |held| f64::from(held.0) / 1e3), |candidate| candidate.input)
}

/// The amount that an estimate stands for.
pub(crate) fn estimated(estimate: f64) -> Amount {
    // The whole part of a finite number; what is out of range is a bad guess and no more.
    format!("{:.0}", estimate.max(1.0)).parse().unwrap_or_else(|_| Amount::from(1))
}
