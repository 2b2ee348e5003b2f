//! Concentrated liquidity: `UniswapV3Pool`, made by its factory, with random positions.

use alloy_primitives::{Address, TxKind, U256};
use market::math::swap::Remaining;
use market::math::tick::{MAX_SQRT_PRICE, MAX_TICK, MIN_SQRT_PRICE, MIN_TICK, sqrt_price_at, tick_at};
use market::pool::{Event, Identity, Pool, Protocol, Tick, V3, V3State, V3Swap, Way};
use rand::Rng;
use rand::rngs::StdRng;
use revm::state::EvmState;

use super::machine::{Machine, SENDER, TOKENS, TRADER, encode, mapping_slot, signed, slot_after, word};
use super::{number, seeded, tools};

/// Pools made of each tier, quotes compared on each pool, and in how many rounds.
const POOLS: u64 = 20;
const QUOTES: usize = 500;
const ROUNDS: usize = 5;
/// Changes of a pool before each round.
const HISTORY: usize = 20;

/// A pool's storage.
const SLOT0: u64 = 0;
const PROTOCOL_FEES_SLOT: u64 = 3;
const LIQUIDITY_SLOT: u64 = 4;
const TICKS_SLOT: u64 = 5;
const BITMAP_SLOT: u64 = 6;

/// Fees and spacings: the factory's own, and two more that its owner may add.
const TIERS: [(u32, i32); 5] = [(500, 10), (3_000, 60), (10_000, 200), (100, 1), (999_999, 2_047)];

fn low_bits(word: U256, bits: usize) -> U256 {
    word & ((U256::ONE << bits) - U256::ONE)
}

fn signed_24(word: U256) -> i32 {
    let number = low_bits(word, 24).to::<u32>();
    ((number << 8) as i32) >> 8
}

/// Price, tick, liquidity, the protocol's shares, as storage has them after a run.
fn stored(machine: &Machine, state: &EvmState, pool: Address) -> (U256, i32, u128, [u8; 2]) {
    let slot = |slot: u64| slot_after(machine, state, pool, U256::from(slot));
    let slot0 = slot(SLOT0);
    let shares: u8 = low_bits(slot0 >> 232, 8).to();
    let liquidity = low_bits(slot(LIQUIDITY_SLOT), 128).to();
    (low_bits(slot0, 160), signed_24(slot0 >> 160), liquidity, [shares & 15, shares >> 4])
}

fn ours(pool: &V3) -> (U256, i32, u128, [u8; 2]) {
    (pool.sqrt_price(), pool.tick(), pool.liquidity(), pool.fee_protocol())
}

/// A tick as storage has it; nothing where it is not initialised.
fn stored_tick(machine: &Machine, pool: Address, index: i32) -> Option<Tick> {
    let packed = machine.slot(pool, mapping_slot(signed(index.into()), TICKS_SLOT));
    let liquidity_gross = low_bits(packed, 128).to();
    let liquidity_net = (packed >> 128usize).to::<u128>() as i128;
    (liquidity_gross != 0).then_some(Tick { index, liquidity_gross, liquidity_net })
}

struct Market {
    machine: Machine,
    address: Address,
    pool: V3,
    /// Whose liquidity can be taken out again.
    positions: Vec<(i32, i32, u128)>,
}

impl Market {
    fn new(rng: &mut StdRng, tier: (u32, i32)) -> Option<Self> {
        let mut machine = Machine::new(&tools()?);
        let (fee, spacing) = tier;
        let code = "@uniswap/v3-core/artifacts/contracts/UniswapV3Factory.sol/UniswapV3Factory.json";
        let code = machine.artefact(code, "/bytecode");
        let made = machine.run(TxKind::Create, code);
        let factory = made.created.unwrap();
        machine.must(made);
        if !TIERS[..3].contains(&tier) {
            let enable = encode("enableFeeAmount(uint24,int24)", &[U256::from(fee), signed(spacing.into())]);
            let enabled = machine.call(factory, enable);
            machine.must(enabled);
        }
        let create = encode("createPool(address,address,uint24)", &[word(TOKENS[0]), word(TOKENS[1]), U256::from(fee)]);
        let created = machine.call(factory, create);
        let address = Address::from_slice(&machine.must(created)[12..]);
        let identity = Identity {
            address: kernel::chain::Address(address),
            tokens: TOKENS.map(kernel::chain::Address),
            protocol: Protocol::UniswapV3,
            fee_millionths: fee,
        };
        let pool = V3::new(identity, spacing, V3State::default()).unwrap();
        let mut market = Self { machine, address, pool, positions: Vec::new() };
        let near = if rng.random() { 2_000 } else { MAX_TICK };
        let span = sqrt_price_at(-near).unwrap()..sqrt_price_at(near).unwrap();
        let at = rng.random_range(-near..near);
        let sqrt_price = (sqrt_price_at(at).unwrap() + number(rng, 60)).clamp(span.start, span.end - U256::ONE);
        let initialized = market.machine.call(address, encode("initialize(uint160)", &[sqrt_price]));
        market.machine.must(initialized);
        market.follow(Event::Initialize { sqrt_price, tick: tick_at(sqrt_price).unwrap() });
        for _ in 0..rng.random_range(0..8) {
            market.mint(rng);
        }
        market.share(rng);
        Some(market)
    }

    fn follow(&mut self, event: Event) {
        self.pool.apply(&event).unwrap();
    }

    /// A range near the price or anywhere, of any width.
    fn range(&self, rng: &mut StdRng) -> (i32, i32) {
        let spacing = self.pool.tick_spacing();
        let (least, most) = (MIN_TICK / spacing, MAX_TICK / spacing);
        let middle =
            if rng.random_range(0..4) > 0 { self.pool.tick() / spacing } else { rng.random_range(least..most) };
        let reach = 1 + number(rng, 11).to::<i32>();
        let lower = (middle - rng.random_range(0..=reach)).clamp(least, most - 1);
        let upper = (middle + rng.random_range(0..=reach)).clamp(lower + 1, most);
        (lower * spacing, upper * spacing)
    }

    fn mint(&mut self, rng: &mut StdRng) {
        let (lower, upper) = self.range(rng);
        let amount: u128 = number(rng, 96).to();
        let data = [word(TRADER), signed(lower.into()), signed(upper.into()), U256::from(amount), U256::from(160)];
        let mut data = encode("mint(address,int24,int24,uint128,bytes)", &data);
        data.extend(payment());
        let minted = self.machine.trade(self.address, &data);
        // An amount of nothing is refused, and so is more than a tick may hold.
        if minted.result.is_ok() {
            self.machine.must(minted);
            self.follow(Event::Mint { tick_lower: lower, tick_upper: upper, amount });
            self.positions.push((lower, upper, amount));
        }
    }

    fn burn(&mut self, rng: &mut StdRng) {
        if self.positions.is_empty() {
            return;
        }
        let place = rng.random_range(0..self.positions.len());
        let (lower, upper, held) = self.positions[place];
        let amount = if rng.random() { held } else { rng.random_range(0..=held) };
        let words = [signed(lower.into()), signed(upper.into()), U256::from(amount)];
        let burnt = self.machine.trade(self.address, &encode("burn(int24,int24,uint128)", &words));
        if burnt.result.is_ok() {
            self.machine.must(burnt);
            self.follow(Event::Burn { tick_lower: lower, tick_upper: upper, amount });
            self.positions[place].2 -= amount;
        }
    }

    /// The protocol takes a share of the fees, or none.
    fn share(&mut self, rng: &mut StdRng) {
        let [fee_protocol0, fee_protocol1] = [(); 2].map(|()| [0, 4, 5, 10][rng.random_range(0..4)]);
        let set = encode("setFeeProtocol(uint8,uint8)", &[U256::from(fee_protocol0), U256::from(fee_protocol1)]);
        let set = self.machine.call(self.address, set);
        self.machine.must(set);
        self.follow(Event::SetFeeProtocol { fee_protocol0, fee_protocol1 });
    }

    /// A swap on both sides, compared; kept where that is asked for. Whether it traded.
    fn swap(&mut self, rng: &mut StdRng, keep: bool, told: &str) -> Option<V3Swap> {
        let way = Way::BOTH[rng.random_range(0..2)];
        let bits_max = [70, 100, 128, 255][rng.random_range(0..4)];
        let amount = number(rng, bits_max);
        let asked = if rng.random() { Remaining::In(amount) } else { Remaining::Out(amount) };
        // Without a limit a swap that finds too little walks through all the words there are.
        let limit = (rng.random_range(0..200) > 0).then(|| self.limit(rng, way));
        let told = format!("{told}: {way:?} {asked:?} limit {limit:?} of {:?}", self.pool.state());
        let last = if way.zero_for_one() { MIN_SQRT_PRICE + U256::ONE } else { MAX_SQRT_PRICE - U256::ONE };
        let specified = if matches!(asked, Remaining::In(_)) { amount } else { amount.wrapping_neg() };
        let zero_for_one = U256::from(u8::from(way.zero_for_one()));
        let words = [word(SENDER), zero_for_one, specified, limit.unwrap_or(last), U256::from(160)];
        let mut data = encode("swap(address,bool,int256,uint160,bytes)", &words);
        data.extend(payment());
        let real = self.machine.trade(self.address, &data);
        match self.pool.trade(way, asked, limit) {
            Err(refusal) => {
                assert!(real.result.is_err(), "{told}: only we refuse: {refusal:?}");
                None
            }
            Ok(swap) => {
                let said = real.result.as_ref().unwrap_or_else(|revert| panic!("{told}: reverted with {revert}"));
                let amounts = [0, 32].map(|at| U256::from_be_slice(&said[at..at + 32]));
                assert_eq!(amounts[way.input()], swap.amount_in, "{told}");
                assert_eq!(amounts[way.output()], swap.amount_out.wrapping_neg(), "{told}");
                let (price, tick, liquidity, _) = stored(&self.machine, &real.state, self.address);
                let told_state = (swap.sqrt_price, swap.tick().unwrap(), swap.liquidity);
                assert_eq!((price, tick, liquidity), told_state, "{told}");
                let fees = |state: &EvmState| {
                    let packed = slot_after(&self.machine, state, self.address, U256::from(PROTOCOL_FEES_SLOT));
                    [low_bits(packed, 128), packed >> 128][way.input()]
                };
                // The contract counts them modulo 2^128, and says so.
                let taken = fees(&real.state).wrapping_sub(fees(&EvmState::default()));
                assert_eq!(low_bits(taken, 128), low_bits(swap.protocol_fee, 128), "{told}");
                if keep {
                    self.machine.keep(real.state);
                    self.follow(swap.event().unwrap());
                }
                Some(swap)
            }
        }
    }

    /// Mostly ahead of the price, near or far.
    fn limit(&self, rng: &mut StdRng, way: Way) -> U256 {
        let reach = self.pool.tick_spacing() * [3, 40, 1_000][rng.random_range(0..3)];
        let ahead = rng.random_range(-reach / 16..=reach);
        let away = if way.zero_for_one() { -ahead } else { ahead };
        let tick = (self.pool.tick() + away).clamp(MIN_TICK, MAX_TICK);
        sqrt_price_at(tick).unwrap() + number(rng, 40)
    }

    fn check_storage(&self, told: &str) {
        let stored = stored(&self.machine, &EvmState::default(), self.address);
        assert_eq!(ours(&self.pool), stored, "{told}");
        let spacing = self.pool.tick_spacing();
        let mut ends: Vec<i32> = self.positions.iter().flat_map(|&(lower, upper, _)| [lower, upper]).collect();
        ends.sort_unstable();
        ends.dedup();
        let known: Vec<Tick> =
            ends.iter().filter_map(|index| stored_tick(&self.machine, self.address, *index)).collect();
        assert_eq!(self.pool.ticks(), known, "{told}");
        for end in ends {
            let place = ((end / spacing) >> 8) as i16;
            let word = self.machine.slot(self.address, mapping_slot(signed(place.into()), BITMAP_SLOT));
            assert_eq!(self.pool.bitmap_word(place), word, "{told}: word {place}");
        }
        // What a snapshot says is what the events led to.
        let again = V3::new(*self.pool.identity(), spacing, self.pool.state()).unwrap();
        assert_eq!(again, self.pool, "{told}");
    }
}

/// Callback data: which tokens to pay in.
fn payment() -> Vec<u8> {
    [U256::from(64), word(TOKENS[0]), word(TOKENS[1])].iter().flat_map(|word| word.to_be_bytes::<32>()).collect()
}

/// One tier's share of the quotes, on pools that change in between.
fn check(tier: usize) {
    let (mut traded, mut crossing) = (0u32, 0u32);
    for seed in 0..POOLS {
        let mut rng = seeded(1_000 * (1 + tier as u64) + seed);
        let Some(mut market) = Market::new(&mut rng, TIERS[tier]) else { return };
        market.check_storage(&format!("pool {seed}, new"));
        for quote in 0..QUOTES {
            if quote % (QUOTES / ROUNDS) == 0 {
                for change in 0..HISTORY {
                    let told = format!("pool {seed}, before quote {quote}, change {change}");
                    match rng.random_range(0..8) {
                        0 | 1 => market.mint(&mut rng),
                        2 => market.burn(&mut rng),
                        3 => market.share(&mut rng),
                        _ => drop(market.swap(&mut rng, true, &told)),
                    }
                    market.check_storage(&told);
                }
            }
            if let Some(swap) = market.swap(&mut rng, false, &format!("pool {seed}, quote {quote}")) {
                traded += 1;
                crossing += u32::from(swap.ticks_crossed > 0);
            }
        }
    }
    assert!(traded > 7_000 && crossing > 1_500, "{traded} traded, {crossing} crossed a tick");
}

#[test]
fn ten_thousand_quotes_at_5_bps_with_histories() {
    check(0);
}

#[test]
fn ten_thousand_quotes_at_30_bps_with_histories() {
    check(1);
}

#[test]
fn ten_thousand_quotes_at_100_bps_with_histories() {
    check(2);
}

#[test]
fn ten_thousand_quotes_at_1_bps_with_histories() {
    check(3);
}

#[test]
fn ten_thousand_quotes_where_nearly_all_is_fee_with_histories() {
    check(4);
}
