//! Reading pools as they stand after a block, hundreds of values in one request.
//!
//! A node runs a little program of ours that it is given for the request alone (a state override, which geth, reth, erigon, nethermind and
//! anvil have): it makes all the calls it is given and returns what they return. So no contract has to be there for it.

use alloy_primitives::{Bytes, U256, address, hex, keccak256};
use futures_util::future::try_join_all;
use kernel::chain::{AccountOverride, Address, BlockId, CallRequest, Hash};
use kernel::{Fault, Result};
use market::math::tick::{MAX_TICK, MIN_TICK};
use market::pool::{AnyPool, Identity, Pool, Tick, V2, V3, V3State};
use serde_json::json;

use super::words::tick;
use crate::node::Node;
use crate::wire;

/// For each 56 bytes of its input, an address and 36 bytes of calldata, a static call; for each, nine words out: how long the answer was (0 when
/// it failed) and its first eight words.
///
/// ```text
/// PUSH1 40 PUSH1 0                                              memory's next place, input's next place
/// loop: JUMPDEST DUP1 CALLDATASIZE GT ISZERO PUSH1 done JUMPI
/// PUSH1 24 DUP2 PUSH1 14 ADD PUSH1 0 CALLDATACOPY               calldata to 0
/// PUSH2 100 DUP3 PUSH1 20 ADD PUSH1 24 PUSH1 0 DUP5 CALLDATALOAD PUSH1 60 SHR GAS STATICCALL
/// RETURNDATASIZE MUL DUP3 MSTORE
/// PUSH1 38 ADD SWAP1 PUSH2 120 ADD SWAP1 PUSH1 loop JUMP
/// done: JUMPDEST POP PUSH1 40 SWAP1 SUB PUSH1 40 RETURN
/// ```
const PROGRAM: [u8; 64] = hex!(
    "604060005b803611156037576024816014016000376101008260200160246000843560601c5afa3d0282526038019061012001906004565b50604090036040f3"
);
/// Where the program is put; nothing is there.
const PROGRAM_AT: alloy_primitives::Address = address!("00000000000000000000000000000000f107111a");
/// Most calls in one request.
const CALLS_MAX: usize = 500;
/// Words that come back for a call.
const ANSWER_WORDS: usize = 9;
/// Pools with ticks that are read at once.
const AT_ONCE: usize = 4;

/// What has to be known of a pool to read it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) identity: Identity,
    /// Where it has ticks.
    pub(super) tick_spacing: Option<i32>,
}

impl Known {
    pub(super) fn of(pool: &AnyPool) -> Self {
        let tick_spacing = match pool {
            AnyPool::ConstantProduct(_) => None,
            AnyPool::ConcentratedLiquidity(pool) => Some(pool.tick_spacing()),
        };
        Self { identity: *pool.identity(), tick_spacing }
    }

    /// As it stands when its factory has just made it.
    pub(super) fn new_made(&self) -> market::Result<AnyPool> {
        Ok(match self.tick_spacing {
            None => V2::new(self.identity, [0, 0])?.into(),
            Some(spacing) => V3::new(self.identity, spacing, V3State::default())?.into(),
        })
    }
}

struct Call {
    to: Address,
    data: [u8; 36],
}

impl Call {
    fn new(to: Address, function: &str, argument: i32) -> Self {
        let mut data = [0; 36];
        data[..4].copy_from_slice(&keccak256(function)[..4]);
        // Sign-extended to a word.
        data[4..32].fill(if argument < 0 { 0xff } else { 0 });
        data[32..].copy_from_slice(&argument.to_be_bytes());
        Self { to, data }
    }
}

/// An answer's first eight words.
type Answer = [U256; ANSWER_WORDS - 1];

async fn ask(node: &Node, at: Hash, calls: &[Call]) -> Result<Vec<Answer>> {
    let program = AccountOverride {
        address: Address(PROGRAM_AT),
        balance_wei: None,
        nonce: None,
        code: Some(PROGRAM.to_vec().into()),
        storage: Vec::new(),
    };
    let mut answers = Vec::with_capacity(calls.len());
    for some in calls.chunks(CALLS_MAX) {
        let input: Vec<u8> = some.iter().flat_map(|call| call.to.0.iter().chain(&call.data)).copied().collect();
        let call = wire::call(&CallRequest::read(Address(PROGRAM_AT), input.into()));
        let overrides = wire::overrides(std::slice::from_ref(&program));
        let params = json!([call, wire::block(BlockId::Hash(at)), overrides]);
        let out: Bytes = node.rpc.read("eth_call", params).await?;
        if out.len() != some.len() * ANSWER_WORDS * 32 {
            return Err(Fault::upstream("the node does not run calls with code given for them")
                .hint("following pools needs state overrides in eth_call; use another endpoint"));
        }
        for (call, out) in some.iter().zip(out.chunks(ANSWER_WORDS * 32)) {
            let word = |at: usize| U256::from_be_slice(&out[32 * at..32 * (at + 1)]);
            if word(0).is_zero() {
                return Err(Fault::upstream(format!("pool {} does not answer as one", call.to)));
            }
            answers.push(std::array::from_fn(|at| word(at + 1)));
        }
    }
    Ok(answers)
}

/// The pools as they stand after the block, in the order given.
pub(super) async fn pools(node: &Node, at: Hash, known: &[Known]) -> Result<Vec<AnyPool>> {
    let pairs: Vec<_> = known.iter().filter(|known| known.tick_spacing.is_none()).collect();
    let calls: Vec<_> = pairs.iter().map(|pair| Call::new(pair.identity.address, "getReserves()", 0)).collect();
    let reserves = ask(node, at, &calls).await?;
    let mut reserves = reserves.into_iter();
    let with: Vec<(Identity, i32)> =
        known.iter().filter_map(|known| Some((known.identity, known.tick_spacing?))).collect();
    let mut ticked = Vec::with_capacity(with.len());
    for some in with.chunks(AT_ONCE) {
        let mut reads = Vec::with_capacity(AT_ONCE);
        for (identity, spacing) in some {
            reads.push(with_ticks(node, at, *identity, *spacing));
        }
        ticked.extend(try_join_all(reads).await?);
    }
    let mut ticked = ticked.into_iter();
    let mut all = Vec::with_capacity(known.len());
    for known in known {
        let pool = match known.tick_spacing {
            Some(_) => ticked.next(),
            None => match reserves.next() {
                Some([first, second, ..]) => Some(V2::new(known.identity, [amount(first)?, amount(second)?])?.into()),
                None => None,
            },
        };
        all.push(pool.ok_or_else(|| Fault::internal("a pool was not read"))?);
    }
    Ok(all)
}

async fn with_ticks(node: &Node, at: Hash, identity: Identity, spacing: i32) -> Result<AnyPool> {
    let pool = identity.address;
    let state = ask(node, at, &[Call::new(pool, "slot0()", 0), Call::new(pool, "liquidity()", 0)]).await?;
    let (slot0, liquidity) = (state[0], state[1][0]);
    let words: Vec<i32> = (word_of(MIN_TICK, spacing)..=word_of(MAX_TICK, spacing)).collect();
    let calls: Vec<_> = words.iter().map(|word| Call::new(pool, "tickBitmap(int16)", *word)).collect();
    let maps = ask(node, at, &calls).await?;
    let set = |map: U256| (0..256usize).filter(move |bit| map.bit(*bit)).map(|bit| bit as i32);
    let indices =
        words.iter().zip(&maps).flat_map(|(word, map)| set(map[0]).map(move |bit| (word * 256 + bit) * spacing));
    let indices: Vec<i32> = indices.collect();
    let calls: Vec<_> = indices.iter().map(|index| Call::new(pool, "ticks(int24)", *index)).collect();
    let mut ticks = Vec::with_capacity(indices.len());
    for (index, [gross, net, ..]) in indices.into_iter().zip(ask(node, at, &calls).await?) {
        // The low half of a sign-extended number is the number.
        let [low, high, ..] = *net.as_limbs();
        let liquidity_net = (u128::from(low) | u128::from(high) << 64) as i128;
        ticks.push(Tick { index, liquidity_gross: amount(gross)?, liquidity_net });
    }
    let share = u8::try_from(slot0[5]).map_err(|_| Fault::upstream(format!("pool {pool} has no fee protocol")))?;
    let state = V3State {
        sqrt_price: slot0[0],
        tick: tick(slot0[1]),
        liquidity: amount(liquidity)?,
        fee_protocol: [share % 16, share >> 4],
        ticks,
    };
    Ok(V3::new(identity, spacing, state)?.into())
}

/// The bitmap's word in which a tick is.
fn word_of(tick: i32, spacing: i32) -> i32 {
    tick.div_euclid(spacing) >> 8
}

fn amount(word: U256) -> Result<u128> {
    u128::try_from(word).map_err(|_| Fault::upstream("a pool's figure is out of range"))
}
