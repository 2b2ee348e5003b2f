//! What is pretended where the fleet has no key or no contract yet: a wallet with money on it, and the executor as its first deployment.
//!
//! Only a simulation ever finds it. What it says is true all the same: the contracts traded with are the chain's own.

use kernel::Result;
use kernel::chain::{Abi, AccountOverride, Address, CallRequest, created};
use kernel::intents::Rehearsal;
use market::executor;

/// The pretended wallet. Its address is written out, so nobody has its key.
pub(super) fn wallet() -> Address {
    Address::from(*b"flotilla paper trade")
}

/// The rehearsal in which `wallet` deploys the executor first, and where that will be.
pub(super) fn rehearsal(abi: &dyn Abi, wallet: Address) -> Result<(Rehearsal, Address)> {
    // A million ether: gas is counted, and never what stops it.
    let balance_wei = Some(format!("1{}", "0".repeat(24)).parse()?);
    let account = AccountOverride { address: wallet, balance_wei, nonce: Some(0), code: None, storage: Vec::new() };
    let data = executor::creation_code(abi, wallet)?;
    let create = CallRequest { from: Some(wallet), data, ..CallRequest::default() };
    Ok((Rehearsal { accounts: vec![account], before: vec![create] }, created(wallet, 0)))
}
