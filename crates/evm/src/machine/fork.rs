//! The `Fork` port: runs, stopped for what is missing and run again.

use std::cell::Cell;
use std::sync::Arc;

use alloy_primitives::{Address, B256, TxKind, U256};
use async_trait::async_trait;
use kernel::chain::{AccountOverride, BlockId, Fork, Head, NextBlock, Simulation, TRANSACTION_GAS_MAX, Trial};
use kernel::{Fault, Result};
use revm::context::{BlockEnv, CfgEnv, TxEnv};
use revm::context_interface::result::{EVMError, ExecutionResult};
use revm::context_interface::transaction::{AccessList, AccessListItem};
use revm::handler::{MainnetContext, MainnetEvm};
use revm::primitives::hardfork::SpecId;
use revm::state::EvmState;
use revm::{Context, ExecuteEvm, MainBuilder, MainContext};

use super::read::Reader;
use super::tell::{self, Payer};
use super::view::{Missing, View};
use crate::node::Node;

/// Most times that one run is stopped for what is missing.
const STOPS_MAX: usize = 5_000;
/// The stop at which the node is asked what the call will touch: who calls whom is known without.
const FORESEE_AT: usize = 2;

type Machine = MainnetEvm<MainnetContext<View>>;

thread_local! {
    /// The machine that the thread's last run was made on. It cannot wait in a task, and making one takes as long as many calls: it holds room
    /// for eight calls within each other.
    static MACHINE: Cell<Option<Box<Machine>>> = const { Cell::new(None) };
}

/// A machine with nothing in it.
fn made() -> Box<Machine> {
    let mut config = CfgEnv::new_with_spec(SpecId::OSAKA);
    // A trial is of any time and any account: which nonce is next is for the sender to know, and a contract may be taken for the sender.
    config.disable_nonce_check = true;
    config.disable_eip3607 = true;
    config.tx_gas_limit_cap = Some(TRANSACTION_GAS_MAX);
    let nothing = View::new(Arc::default(), B256::ZERO);
    Box::new(Context::mainnet().with_cfg(config).with_db(nothing).build_mainnet())
}

struct NodeFork {
    base: Head,
    block: NextBlock,
    chain_id: u64,
    view: View,
    reader: Reader,
}

/// The state after `at`.
pub(crate) async fn open(node: &Node, at: BlockId) -> Result<Box<dyn Fork>> {
    let tracked = node.heads.tip().filter(|tip| at == BlockId::Hash(tip.hash));
    let base = async {
        match tracked {
            Some(tip) => Ok(tip),
            None => node.wire_block(at).await.map(|block| block.head),
        }
    };
    let (base, chain_id) = tokio::try_join!(base, node.rpc.chain_id())?;
    let now_seconds = u64::try_from(node.clock.now_ms() / 1_000).unwrap_or(0);
    let view = View::new(Arc::clone(&node.cache), base.hash.0);
    let reader = Reader { node: node.clone(), block: base.hash.0 };
    let block = NextBlock::after(&base, now_seconds);
    Ok(Box::new(NodeFork { base, block, chain_id, view, reader }))
}

#[async_trait]
impl Fork for NodeFork {
    fn base(&self) -> &Head {
        &self.base
    }

    fn block(&self) -> &NextBlock {
        &self.block
    }

    fn set_block(&mut self, block: NextBlock) {
        self.block = block;
    }

    fn change(&mut self, overrides: &[AccountOverride]) {
        overrides.iter().for_each(|account| self.view.change(account));
    }

    async fn attempt(&mut self, trial: &Trial) -> Result<Simulation> {
        self.run(trial).await.map(|(simulation, _)| simulation)
    }

    async fn apply(&mut self, trial: &Trial) -> Result<Simulation> {
        let (simulation, state) = self.run(trial).await?;
        self.view.keep(state);
        Ok(simulation)
    }
}

impl NodeFork {
    async fn run(&mut self, trial: &Trial) -> Result<(Simulation, EvmState)> {
        let transaction = self.transaction(trial)?;
        let (result, state) = self.finish(trial, transaction).await?;
        let payer = Payer { sender: trial.call.from.unwrap_or_default().0, fees: trial.fees, block: &self.block };
        tell::simulation(&self.base, &payer, result, &state, &mut self.view).map(|simulation| (simulation, state))
    }

    async fn finish(&mut self, trial: &Trial, transaction: TxEnv) -> Result<(ExecutionResult, EvmState)> {
        let parties = self.parties(trial);
        for stop in 1..=STOPS_MAX {
            let missing = match self.once(trial, transaction.clone()) {
                Ok(done) => return Ok(done),
                Err(EVMError::Database(missing)) => missing,
                Err(EVMError::Transaction(why)) => return Err(tell::refused(&why)),
                Err(error) => return Err(Fault::internal(format!("the run cannot be begun: {error}"))),
            };
            match stop {
                1 => self.reader.renew().await?,
                FORESEE_AT => self.reader.foresee(&trial.call).await?,
                _ => {}
            }
            self.reader.supply(missing, &mut self.view, &parties).await?;
        }
        Err(Fault::too_large(format!("the transaction reads more than {STOPS_MAX} places that are not in memory"))
            .hint("run it in parts, or ask the node with simulate_transaction"))
    }

    /// The accounts that every run of this asks for.
    fn parties(&self, trial: &Trial) -> Vec<Address> {
        let from = trial.call.from.unwrap_or_default().0;
        [from, self.block.fee_recipient.0].into_iter().chain(trial.call.to.map(|to| to.0)).collect()
    }

    /// One run, to its end or to what is missing.
    fn once(&mut self, trial: &Trial, transaction: TxEnv) -> Result<(ExecutionResult, EvmState), EVMError<Missing>> {
        let mut machine = MACHINE.take().unwrap_or_else(made);
        let block = BlockEnv {
            number: U256::from(self.block.number),
            beneficiary: self.block.fee_recipient.0,
            timestamp: U256::from(self.block.timestamp_seconds),
            gas_limit: self.block.gas_limit,
            // More than 2^64 wei per gas is more than there is.
            basefee: u64::try_from(self.block.base_fee_per_gas_wei.0).unwrap_or(u64::MAX),
            prevrandao: Some(B256::ZERO),
            ..BlockEnv::default()
        };
        machine.ctx.modify_block(|old| *old = block);
        machine.ctx.modify_cfg(|config| {
            config.chain_id = self.chain_id;
            config.disable_base_fee = trial.fees.is_none();
        });
        std::mem::swap(&mut self.view, &mut machine.ctx.journaled_state.database);
        let done = machine.transact(transaction);
        std::mem::swap(&mut self.view, &mut machine.ctx.journaled_state.database);
        let done = done?;
        // One that was stopped on its way is not used again.
        MACHINE.set(Some(machine));
        Ok((done.result, done.state))
    }

    fn transaction(&self, trial: &Trial) -> Result<TxEnv> {
        let call = &trial.call;
        let items = trial.access_list.iter().map(|access| AccessListItem {
            address: access.address.0,
            storage_keys: access.slots.iter().map(|slot| slot.0).collect(),
        });
        let wei = |amount: kernel::chain::Amount| {
            u128::try_from(amount.0)
                .map_err(|_| Fault::invalid(format!("a fee of {amount} wei per gas")).hint("below 2^128"))
        };
        let mut transaction = TxEnv::builder()
            .caller(call.from.unwrap_or_default().0)
            .kind(call.to.map_or(TxKind::Create, |to| TxKind::Call(to.0)))
            .data(call.data.0.clone())
            .value(call.value_wei.0)
            .gas_limit(call.gas_limit.unwrap_or_else(|| self.block.gas_limit.min(TRANSACTION_GAS_MAX)))
            .chain_id(Some(self.chain_id))
            .access_list(AccessList(items.collect()));
        if let Some(fees) = trial.fees {
            transaction = transaction
                .gas_price(wei(fees.max_fee_per_gas_wei)?)
                .gas_priority_fee(Some(wei(fees.max_priority_fee_per_gas_wei)?));
        }
        transaction.build().map_err(|error| Fault::invalid(format!("the transaction cannot be made: {error:?}")))
    }
}
