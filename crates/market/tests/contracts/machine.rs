//! A machine with contracts in it, and a trader that pays what pools call back for.

use std::path::Path;

use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use revm::bytecode::Bytecode;
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::context_interface::result::ExecutionResult;
use revm::database::{CacheDB, EmptyDB};
use revm::handler::{MainnetContext, MainnetEvm};
use revm::primitives::hardfork::SpecId;
use revm::state::{AccountInfo, EvmState};
use revm::{Context, ExecuteCommitEvm, ExecuteEvm, MainBuilder, MainContext};
use serde_json::Value;

/// The account that everything is sent from.
pub(super) const SENDER: Address = Address::repeat_byte(0xee);
/// Where the trader's code is.
pub(super) const TRADER: Address = Address::repeat_byte(0x77);
/// Two tokens, in order: wrapped ether's code, which is a plain token.
pub(super) const TOKENS: [Address; 2] = [Address::repeat_byte(0x11), Address::repeat_byte(0x22)];

/// What a token's storage keeps balances in.
const BALANCES_SLOT: u64 = 3;

/// A part of the trader: pays the caller an amount of a token, both at these places of the calldata, unless it is not above zero.
fn pay(code: &mut Vec<u8>, amount_at: u8, token_at: u8) {
    // amount; skip unless 0 < amount
    code.extend([0x60, amount_at, 0x35, 0x80, 0x60, 0x00, 0x12, 0x15, 0x60]);
    let skip = code.len();
    code.extend([0x00, 0x57]);
    // transfer(caller, amount): selector, caller, amount in memory
    code.extend(hex!("63a9059cbb60e01b600052" "33600452" "80602452"));
    // call(gas, token, 0, 0, 0x44, 0, 0x20)
    code.extend([0x60, 0x20, 0x60, 0x00, 0x60, 0x44, 0x60, 0x00, 0x60, 0x00, 0x60, token_at, 0x35, 0x5a, 0xf1, 0x50]);
    code[skip] = code.len() as u8;
    // skip: drop the amount
    code.extend([0x5b, 0x50]);
}

/// The trader's code. Called by the sender, it calls the address in the first word with the rest, and passes on what that says. Called by
/// anyone else, which is a pool that wants its payment (`uniswapV3MintCallback`, `uniswapV3SwapCallback`), it pays both amounts, in the
/// tokens named in the data.
fn trader() -> Vec<u8> {
    // Called by the origin: forward.
    let mut code = vec![0x33, 0x32, 0x14, 0x60];
    let forward = code.len();
    code.extend([0x00, 0x57]);
    // A callback: amounts at 4 and 36, the data's two words at 132 and 164.
    pay(&mut code, 4, 132);
    pay(&mut code, 36, 164);
    code.push(0x00);
    code[forward] = code.len() as u8;
    // memory[0..] = calldata[32..]; call(gas, word 0, 0, 0, size, 0, 0)
    code.extend(hex!("5b" "60203603" "8060206000" "37" "60006000" "82" "60006000" "600035" "5af1"));
    // Pass on what was returned, as success or as a revert.
    code.extend(hex!("3d600060003e" "60"));
    let done = code.len();
    code.extend(hex!("00" "57" "3d6000fd"));
    code[done] = code.len() as u8;
    code.extend(hex!("5b" "3d6000f3"));
    code
}

/// Code as the machine runs it, and its hash.
pub(super) fn analysed(code: Vec<u8>) -> (Bytecode, B256) {
    let code = Bytecode::new_legacy(code.into());
    let hash = code.hash_slow();
    (code, hash)
}

pub(super) struct Machine {
    evm: MainnetEvm<MainnetContext<CacheDB<EmptyDB>>>,
    packages: std::path::PathBuf,
}

/// What a call came to.
pub(super) struct Outcome {
    /// What it returned, or what it reverted with.
    pub(super) result: Result<Bytes, Bytes>,
    /// What it changed.
    pub(super) state: EvmState,
    /// Where it created a contract, if it did.
    pub(super) created: Option<Address>,
}

impl Machine {
    pub(super) fn new(tools: &Path) -> Self {
        let mut config = CfgEnv::new_with_spec(SpecId::OSAKA);
        config.disable_nonce_check = true;
        config.tx_gas_limit_cap = Some(u64::MAX);
        let block = BlockEnv { timestamp: U256::from(1_700_000_000u64), gas_limit: u64::MAX, ..BlockEnv::default() };
        let context = Context::mainnet().with_db(CacheDB::new(EmptyDB::default())).with_cfg(config).with_block(block);
        let mut machine = Self { evm: context.build_mainnet(), packages: tools.join("npm/node_modules") };
        machine.db().insert_account_info(SENDER, AccountInfo::default().with_balance(U256::MAX));
        machine.put_code(TRADER, trader());
        let token = machine.token_code();
        for address in TOKENS {
            machine.put_code(address, token.clone());
            machine.put_balance(address, TRADER, U256::ONE << 250);
        }
        machine
    }

    /// A plain token's code.
    pub(super) fn token_code(&self) -> Vec<u8> {
        self.artefact("canonical-weth/build/contracts/WETH9.json", "/deployedBytecode")
    }

    /// Code from a package's artefact.
    pub(super) fn artefact(&self, path: &str, pointer: &str) -> Vec<u8> {
        let text = std::fs::read(self.packages.join(path)).unwrap();
        let artefact: Value = serde_json::from_slice(&text).unwrap();
        hex::decode(artefact.pointer(pointer).unwrap().as_str().unwrap()).unwrap()
    }

    fn db(&mut self) -> &mut CacheDB<EmptyDB> {
        &mut self.evm.ctx.journaled_state.database
    }

    pub(super) fn put_code(&mut self, address: Address, code: Vec<u8>) {
        self.put_analysed(address, &analysed(code));
    }

    /// The same for code that many addresses have: it is looked through and hashed once.
    pub(super) fn put_analysed(&mut self, address: Address, (code, hash): &(Bytecode, B256)) {
        self.db().insert_account_info(address, AccountInfo::default().with_code_and_hash(code.clone(), *hash));
    }

    pub(super) fn put(&mut self, address: Address, slot: U256, value: U256) {
        self.db().insert_account_storage(address, slot, value).unwrap();
    }

    pub(super) fn put_balance(&mut self, token: Address, of: Address, amount: U256) {
        self.put(token, mapping_slot(of.into_word().into(), BALANCES_SLOT), amount);
    }

    pub(super) fn balance(&self, token: Address, of: Address) -> U256 {
        self.slot(token, mapping_slot(of.into_word().into(), BALANCES_SLOT))
    }

    pub(super) fn slot(&self, address: Address, slot: U256) -> U256 {
        let account = self.evm.ctx.journaled_state.database.cache.accounts.get(&address);
        account.and_then(|account| account.storage.get(&slot)).copied().unwrap_or_default()
    }

    /// Runs a call or a creation; nothing is kept unless [`keep`](Self::keep) is told to.
    pub(super) fn run(&mut self, to: TxKind, data: Vec<u8>) -> Outcome {
        let transaction =
            TxEnv::builder().caller(SENDER).kind(to).data(data.into()).gas_limit(1 << 32).gas_price(0).build().unwrap();
        let done = self.evm.transact(transaction).unwrap();
        let (result, created) = match done.result {
            ExecutionResult::Success { output, .. } => (Ok(output.data().clone()), output.address().copied()),
            ExecutionResult::Revert { output, .. } => (Err(output), None),
            ExecutionResult::Halt { .. } => (Err(Bytes::from_static(b"halt")), None),
        };
        Outcome { result, state: done.state, created }
    }

    pub(super) fn call(&mut self, to: Address, data: Vec<u8>) -> Outcome {
        self.run(TxKind::Call(to), data)
    }

    /// Through the trader, so that callbacks are paid.
    pub(super) fn trade(&mut self, to: Address, data: &[u8]) -> Outcome {
        let whole = [to.into_word().as_slice(), data].concat();
        self.call(TRADER, whole)
    }

    pub(super) fn keep(&mut self, state: EvmState) {
        self.evm.commit(state);
    }

    /// Runs, expects success, and keeps what changed.
    pub(super) fn must(&mut self, outcome: Outcome) -> Bytes {
        let said = outcome.result.unwrap_or_else(|revert| panic!("reverted: {}", String::from_utf8_lossy(&revert)));
        self.keep(outcome.state);
        said
    }
}

/// A slot after a run: as changed, or as it was.
pub(super) fn slot_after(machine: &Machine, state: &EvmState, address: Address, slot: U256) -> U256 {
    let changed = state.get(&address).and_then(|account| account.storage.get(&slot));
    changed.map_or_else(|| machine.slot(address, slot), |slot| slot.present_value)
}

/// Where a mapping keeps the value of a key.
pub(super) fn mapping_slot(key: U256, mapping: u64) -> U256 {
    let place = [key.to_be_bytes::<32>(), U256::from(mapping).to_be_bytes::<32>()].concat();
    keccak256(place).into()
}

/// Calldata: the selector and words.
pub(super) fn encode(signature: &str, words: &[U256]) -> Vec<u8> {
    let mut data = keccak256(signature)[..4].to_vec();
    for word in words {
        data.extend(word.to_be_bytes::<32>());
    }
    data
}

/// An address as a word.
pub(super) fn word(address: Address) -> U256 {
    address.into_word().into()
}

/// A signed number as a word.
pub(super) fn signed(number: i128) -> U256 {
    let size = U256::from(number.unsigned_abs());
    if number < 0 { size.wrapping_neg() } else { size }
}
