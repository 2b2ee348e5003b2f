//! A local chain beside the system, with a market on it: the sandbox of `flotilla`, in a container of its own, used as a node of somebody's. The fleet is told of it
//! as of any other chain: `ETHEREUM_RPC_URL`, `docker/flotilla.toml`, a wallet's key.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

use super::World;
use super::client::request;
use super::docker::Docker;
use super::images::CHAIN_IMAGE;
use super::system::{LIMIT, System, until};
use crate::problem::{Problem, Result};
use crate::repo::Repo;

/// Its container.
const NAME: &str = "flotilla-e2e-chain";
/// Under which name and port the fleet finds it.
const HOST: &str = "chain";
const PORT: u16 = 8545;
/// How long the market may take to be deployed.
const DEPLOY_LIMIT: Duration = Duration::from_secs(120);
/// How long the fleet may take to trade.
const TRADE_LIMIT: Duration = Duration::from_secs(180);
/// Trades that are waited for.
const TRADES: u64 = 1;
/// What the wallet is given, in wei: a hundred coins.
const MONEY: &str = "0x56bc75e2d63100000";
/// Its tokens.
const TOKENS: [&str; 6] = ["weth", "usdc", "dai", "usdt", "wbtc", "link"];

/// The chain's container.
pub(crate) struct Chain<'a> {
    docker: &'a Docker,
}

impl<'a> Chain<'a> {
    /// Starts it where Foundry is among the fetched tools, and writes down for the system what there is on it.
    pub(crate) fn start(repo: &Repo, docker: &'a Docker, system: &System<'_>) -> Result<Option<Self>> {
        if !repo.tools.join("npm/node_modules").exists() {
            return Ok(None);
        }
        let chain = Self { docker };
        remove(docker)?;
        let tools = format!("{}:/tools:ro", repo.tools.display());
        let binary = format!("{}:/flotilla:ro", system.binary().display());
        let script = format!(
            "socat TCP-LISTEN:{PORT},fork,reuseaddr TCP:127.0.0.1:18545 & exec /flotilla serve master-coordinator blockchain-integration"
        );
        let mut run = docker.command(&["run", "--detach", "--name", NAME, "--volume", &tools, "--volume", &binary]);
        for setting in
            ["TOOLS_DIR=/tools", "DATA_DIR=/tmp/chain", "CHAIN__SANDBOX__PORT=18545", "CHAIN__SANDBOX__TRADES=false"]
        {
            run.args(["--env", &format!("FLOTILLA_{setting}")]);
        }
        crate::command::output(run.args([CHAIN_IMAGE, "sh", "-c", &script]))?;
        let deployments = until("a market on the local chain", DEPLOY_LIMIT, || Ok(chain.deployments().ok()))?;
        chain.tell(system, &settings(&deployments)?)?;
        Ok(Some(chain))
    }

    /// What there is on it; nothing until all is there.
    fn deployments(&self) -> Result<Vec<Value>> {
        let ask = ["exec", NAME, "/flotilla", "tool", "call", "blockchain-integration__chain_status", "--json"];
        let answer = self.docker.command(&ask).output().map_err(Problem::io("docker exec"))?;
        let status: Value = serde_json::from_slice(&answer.stdout).map_err(Problem::io("chain_status"))?;
        let deployments = status["deployments"].as_array().cloned().unwrap_or_default();
        let whole = deployments.iter().any(|one| one["name"] == "flash-executor");
        if whole { Ok(deployments) } else { Err(Problem::new(format!("the market is not whole: {status}"))) }
    }

    /// Writes what a person would write.
    fn tell(&self, system: &System<'_>, settings: &str) -> Result {
        let write = |path: &str, text: &str| {
            let path = system.folder.join(path);
            fs::write(&path, text).map_err(Problem::io(path.display()))
        };
        write("docker/flotilla.toml", settings)?;
        write("docker/secrets/ethereum_rpc_url", &format!("http://{HOST}:{PORT}"))?;
        write("docker/secrets/wallet_private_key", &key()?)
    }

    /// Joins the fleet's network as soon as Compose has made it.
    pub(crate) fn join(&self) {
        for _ in 0..600 {
            let joined = self.docker.can(&["network", "connect", "--alias", HOST, "mcp_fleet", NAME]);
            if joined.unwrap_or(false) {
                return;
            }
            sleep(Duration::from_millis(100));
        }
    }
}

/// Removes it.
pub(crate) fn remove(docker: &Docker) -> Result {
    docker.can(&["rm", "--force", "--volumes", NAME]).map(drop)
}

/// A wallet's key, made at random.
fn key() -> Result<String> {
    use std::io::Read;
    let mut bytes = [0; 32];
    let read = fs::File::open(Path::new("/dev/urandom")).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(Problem::io("/dev/urandom"))?;
    // Well below the order of the curve, and not zero.
    bytes[0] = 1;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// `docker/flotilla.toml` for these contracts.
fn settings(deployments: &[Value]) -> Result<String> {
    let at = |name: &str| {
        let found = deployments.iter().find(|one| one["name"] == name).and_then(|one| one["address"].as_str());
        found.ok_or_else(|| Problem::new(format!("there is no {name} on the local chain")))
    };
    let tokens: Vec<(String, &str)> =
        TOKENS.iter().map(|token| Ok((token.to_uppercase(), at(token)?))).collect::<Result<_>>()?;
    let mut text = format!(
        "[chain]\npoll_ms = 250\n[chain.lenders]\naave_v3_pool = \"{}\"\nbalancer_v2_vault = \"{}\"\nuniswap_v3_factory = \"{}\"\n\
         uniswap_v4_manager = \"{}\"\npaired_with = [\"{}\", \"{}\", \"{}\"]\n",
        at("aave-v3-pool")?,
        at("balancer-v2-vault")?,
        at("uniswap-v3-factory")?,
        at("uniswap-v4-pool-manager")?,
        at("weth")?,
        at("usdc")?,
        at("dai")?,
    );
    for protocol in ["uniswap-v2", "sushiswap-v2"] {
        let factory = at(&format!("{protocol}-factory"))?;
        text +=
            &format!("[[chain.lenders.pairs]]\nname = \"{protocol}\"\nfactory = \"{factory}\"\nfee_per_mille = 3\n");
    }
    for protocol in ["uniswap-v2", "sushiswap-v2", "uniswap-v3"] {
        let factory = at(&format!("{protocol}-factory"))?;
        text +=
            &format!("[[chain.pools.exchanges]]\nprotocol = \"{protocol}\"\nfactory = \"{factory}\"\nfrom_block = 0\n");
    }
    for server in ["data-providers", "dex-services", "execution", "market-analysis"] {
        text += &format!("[servers.{server}.tokens]\n");
        tokens.iter().for_each(|(symbol, address)| text += &format!("{symbol} = \"{address}\"\n"));
    }
    for token in TOKENS {
        let feed = at(&format!("chainlink-feed-{token}-usd"))?;
        text += &format!(
            "[[servers.data-providers.feeds]]\npair = \"{}/USD\"\naddress = \"{feed}\"\n",
            token.to_uppercase()
        );
    }
    Ok(text)
}

/// The fleet, live on this chain: limits, an executor of its own, a strategy; until a trade is booked.
pub(crate) fn arbitrage(world: &World<'_>) -> Result<String> {
    let client = &world.client;
    let wallet = client.call("execution__wallet", &json!({}))?;
    let address = wallet["address"].as_str().ok_or_else(|| Problem::new(format!("no address in {wallet}")))?;
    give(world.system.docker, address)?;
    let limits = json!({ "pool_age_min_seconds": 1 });
    client.call("risk-management__set_limits", &json!({ "limits": limits, "reason": "e2e" }))?;
    let live = |confirmation: &Value| {
        let mut asked = json!({ "mode": "live", "reason": "e2e" });
        if !confirmation.is_null() {
            asked["confirmation"] = confirmation.clone();
        }
        client.call("production__set_mode", &asked)
    };
    let asked = live(&Value::Null)?;
    live(&asked["confirmation"]["token"])?;
    let deployed = client.call("execution__deploy_executor", &json!({ "key": "e2e-executor" }))?;
    client.call("production__start_strategy", &json!({ "strategy": "flash-arbitrage", "reason": "e2e" }))?;
    let books = until("a trade is booked", TRADE_LIMIT, || {
        let books = client.call("production__pnl", &json!({ "mode": "live" }))?;
        Ok((books["total"]["won"].as_u64() >= Some(TRADES)).then_some(books))
    })?;
    client.call("production__stop_strategy", &json!({ "strategy": "flash-arbitrage", "reason": "e2e" }))?;
    let total = &books["total"];
    if total["gross"].as_str().is_none_or(|gross| gross.starts_with('-')) {
        return Err(Problem::new(format!("the trades lost: {total}")));
    }
    Ok(format!(
        "executor {}; {} trades gained, with all costs {} {}",
        deployed["state"], total["won"], total["net"], books["currency"]
    ))
}

/// Gives the wallet some of the chain's coins, which are worth nothing.
fn give(docker: &Docker, address: &str) -> Result {
    let found = docker.inspect(&[NAME])?;
    let host = found[0]["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str().unwrap_or_default().to_owned();
    let body =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "anvil_setBalance", "params": [address, MONEY] }).to_string();
    let headers = [("content-type", "application/json")];
    until("money for the wallet", LIMIT, || {
        let answer = request(&format!("{host}:{PORT}"), "POST", "/", &headers, &body)?;
        Ok((answer.status == 200 && answer.body.contains("\"result\"")).then_some(()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fleet_is_told_of_all_that_it_trades_with() {
        let one = |name: &str| json!({ "name": name, "address": format!("at {name}") });
        let mut names = vec!["aave-v3-pool", "balancer-v2-vault", "uniswap-v4-pool-manager"];
        names.extend(["uniswap-v2-factory", "sushiswap-v2-factory", "uniswap-v3-factory"]);
        let feeds: Vec<String> = TOKENS.iter().map(|token| format!("chainlink-feed-{token}-usd")).collect();
        names.extend(TOKENS);
        names.extend(feeds.iter().map(String::as_str));
        let mut deployments: Vec<Value> = names.into_iter().map(one).collect();
        let text = settings(&deployments).unwrap();
        let told = "[[chain.pools.exchanges]]\nprotocol = \"uniswap-v3\"\nfactory = \"at uniswap-v3-factory\"";
        assert!(text.contains(told) && text.contains("WBTC = \"at wbtc\""), "{text}");
        deployments.pop();
        let problem = settings(&deployments).unwrap_err().to_string();
        assert_eq!(problem, "there is no chainlink-feed-link-usd on the local chain");
    }

    #[test]
    fn a_wallets_key_is_another_each_time() {
        let (first, second) = (key().unwrap(), key().unwrap());
        assert!(first.len() == 64 && first.starts_with("01") && first != second);
    }
}
