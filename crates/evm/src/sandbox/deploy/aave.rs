//! Aave V3: its registry of addresses, roles, oracle, pool and configurator, and a reserve for each token.

use alloy_primitives::U256;
use kernel::Result;
use kernel::chain::{Address, created};
use serde_json::{Value, json};

use super::super::artefact;
use super::super::plan::Plan;
use super::coins::{Coin, Coins, number};

/// The lender's deployment.
pub(super) const POOL: &str = "aave-v3-pool";
/// What a flash loan costs, in basis points, as on the public chains.
const PREMIUM_BPS: u64 = 5;
/// What is supplied of every token, in dollars.
const SUPPLIED_DOLLARS: u64 = 1_250_000;
/// The oracle's unit, a dollar, in the feeds' decimals.
const DOLLAR: u64 = 100_000_000;
/// What the tokens of a reserve are told at their beginning; nobody reads it.
const NO_PARAMS: &str = "0x10";

/// What stands of it while the rest is made.
struct Aave {
    addresses: Address,
    pool: Address,
    configurator: Address,
}

/// Deploys it with `feeds` for prices, in the order of the tokens.
pub(super) fn deploy(plan: &mut Plan<'_>, coins: &Coins, feeds: &[Address]) -> Result<()> {
    let aave = core(plan, coins, feeds)?;
    plan.list(POOL, aave.pool, "Aave V3 pool, from @aave/core-v3");
    reserves(plan, coins, &aave)?;
    coins.approve(plan, aave.pool)?;
    for coin in Coin::ALL {
        let amount = number(coin.worth(U256::from(SUPPLIED_DOLLARS * 100)));
        let args = [json!(coins.at(coin)), amount, json!(plan.from()), json!(0)];
        plan.call(aave.pool, "supply(address,uint256,address,uint16)", &args)?;
    }
    Ok(())
}

fn core(plan: &mut Plan<'_>, coins: &Coins, feeds: &[Address]) -> Result<Aave> {
    let admin = json!(plan.from());
    let args = [("string", json!("sandbox")), ("address", admin.clone())];
    let what = "Aave V3 registry of addresses, from @aave/core-v3";
    let addresses = plan.deploy("aave-v3-addresses", what, artefact::AAVE_ADDRESSES, &args)?;
    let registered = [("address", json!(addresses))];
    plan.call(addresses, "setACLAdmin(address)", std::slice::from_ref(&admin))?;
    let roles = plan.place(artefact::AAVE_ROLES, &registered)?;
    plan.call(addresses, "setACLManager(address)", &[json!(roles)])?;
    plan.call(roles, "addPoolAdmin(address)", std::slice::from_ref(&admin))?;
    plan.call(roles, "addAssetListingAdmin(address)", &[admin])?;
    // The registry puts each behind a proxy that it creates itself, as its first and its second contract.
    let pool = plan.place(artefact::AAVE_POOL, &registered)?;
    plan.call(addresses, "setPoolImpl(address)", &[json!(pool)])?;
    let configurator = plan.place(artefact::AAVE_CONFIGURATOR, &[])?;
    plan.call(addresses, "setPoolConfiguratorImpl(address)", &[json!(configurator)])?;
    let tokens: Vec<Address> = Coin::ALL.map(|coin| coins.at(coin)).to_vec();
    let none = json!(Address::default());
    let args = [
        ("address", json!(addresses)),
        ("address[]", json!(tokens)),
        ("address[]", json!(feeds)),
        ("address", none.clone()),
        ("address", none),
        ("uint256", json!(DOLLAR)),
    ];
    let what = "Aave V3 price oracle over the feeds, from @aave/core-v3";
    let oracle = plan.deploy("aave-v3-oracle", what, artefact::AAVE_ORACLE, &args)?;
    plan.call(addresses, "setPriceOracle(address)", &[json!(oracle)])?;
    let proxy = |number| created(addresses, number);
    Ok(Aave { addresses, pool: proxy(1), configurator: proxy(2) })
}

fn reserves(plan: &mut Plan<'_>, coins: &Coins, aave: &Aave) -> Result<()> {
    // Shares of a ray: the best use of a reserve, and the slopes of its rates; nobody borrows here for longer than a call.
    let ray = |percent: u64| ("uint256", number(U256::from(percent) * U256::from(10).pow(U256::from(25))));
    let rates = [80, 0, 4, 60, 2, 60, 2, 5, 20].map(ray);
    let rates = [[("address", json!(aave.addresses))].as_slice(), &rates].concat();
    let rates = plan.place(artefact::AAVE_RATES, &rates)?;
    let of_pool = [("address", json!(aave.pool))];
    let token = plan.place(artefact::AAVE_TOKEN, &of_pool)?;
    let stable = plan.place(artefact::AAVE_STABLE_DEBT, &of_pool)?;
    let debt = plan.place(artefact::AAVE_DEBT, &of_pool)?;
    let treasury = plan.from();
    let reserve = |coin: Coin| -> Value {
        let named = |kind: &str| json!(format!("{kind}{}", coin.symbol()));
        json!([
            token,
            stable,
            debt,
            coin.decimals(),
            rates,
            coins.at(coin),
            treasury,
            Address::default(),
            named("a"),
            named("a"),
            named("variableDebt"),
            named("variableDebt"),
            named("stableDebt"),
            named("stableDebt"),
            NO_PARAMS,
        ])
    };
    let initialize = "initReserves((address,address,address,uint8,address,address,address,address,string,string,string,string,string,\
                      string,bytes)[])";
    for coin in Coin::ALL {
        plan.call(aave.configurator, initialize, &[json!([reserve(coin)])])?;
        let lends = [json!(coins.at(coin)), json!(true)];
        plan.call(aave.configurator, "setReserveFlashLoaning(address,bool)", &lends)?;
    }
    plan.call(aave.configurator, "updateFlashloanPremiumTotal(uint128)", &[json!(PREMIUM_BPS)])
}
