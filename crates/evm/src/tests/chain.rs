//! Status, blocks, transactions, logs and tokens, read from the sandbox.

use kernel::Code;
use kernel::chain::{Abi, Address, BlockId, CallRequest, Chain, EndpointState, Hash, LogFilter};
use serde_json::json;

use super::world::{ether, sandbox};
use crate::Encodings;

const TRANSFER: &str = "event Transfer(address indexed from, address indexed to, uint256 value)";

#[tokio::test]
async fn status_says_all_of_the_sandbox() {
    let Some(sandbox) = sandbox() else { return };
    let status = sandbox.node.status().await.unwrap();
    assert_eq!((status.chain_id, status.sandbox, status.reorgs_seen), (31_337, true, 0));
    assert!(status.client_version.starts_with("anvil/"), "{}", status.client_version);
    assert!(
        status.head.number >= 1 && status.gas_price_wei.0 > alloy_primitives::U256::ZERO && status.syncing.is_none()
    );
    assert_eq!(status.base_fee_per_gas_wei, status.head.base_fee_per_gas_wei);
    assert_eq!(status.accounts.len(), 10);
    for name in ["weth", "wbtc", "uniswap-v2-router", "uniswap-v2-pair-dai-usdc", "uniswap-v3-pool-usdc-weth-500"] {
        let named = status.deployments.iter().filter(|deployment| deployment.name == name).count();
        assert_eq!(named, 1, "{name} among {:?}", status.deployments);
    }
    let [endpoint] = &status.endpoints[..] else { panic!("{:?}", status.endpoints) };
    assert_eq!((endpoint.state, endpoint.failures), (EndpointState::Healthy, 0));
    assert!(endpoint.endpoint.starts_with("127.0.0.1:") && endpoint.latency_ms.is_some());
    let figures = sandbox.world.metrics.render();
    assert!(
        figures.contains("flotilla_rpc_requests_total") && figures.contains("flotilla_chain_head_block"),
        "{figures}"
    );
}

#[tokio::test]
async fn reserves_and_balances_of_the_market() {
    let Some(sandbox) = sandbox() else { return };
    let (pair, weth, usdc) =
        (sandbox.at("uniswap-v2-pair-usdc-weth").await, sandbox.at("weth").await, sandbox.at("usdc").await);
    let reserves = sandbox.view(pair, "getReserves()(uint112,uint112,uint32)", &[]).await.unwrap();
    let first = sandbox.view(pair, "token0()(address)", &[]).await.unwrap();
    let order = if first == [json!(weth)] { [0, 1] } else { [1, 0] };
    assert_eq!(order.map(|i| reserves[i].clone()), [json!(ether(1_000)), json!("2500000000000")]);
    assert_eq!(sandbox.node.token_balance(usdc, pair, BlockId::Latest).await.unwrap().to_string(), "2500000000000");
    let kept = sandbox.node.token_balance(weth, sandbox.account(0).await, BlockId::Latest).await.unwrap();
    assert!(!kept.is_zero(), "every token has a holder");
    assert_eq!(
        sandbox.node.balance(sandbox.account(1).await, BlockId::Latest).await.unwrap().to_string(),
        ether(10_000)
    );
    assert_eq!(
        sandbox.node.balance(sandbox.account(0).await, BlockId::Number(0)).await.unwrap().to_string(),
        ether(10_000)
    );
}

#[tokio::test]
async fn tokens_say_what_they_are_and_others_that_they_are_none() {
    let Some(sandbox) = sandbox() else { return };
    let usdc = sandbox.node.token(sandbox.at("usdc").await, BlockId::Latest).await.unwrap();
    assert_eq!(
        (usdc.symbol.as_deref(), usdc.name.as_deref(), usdc.decimals),
        (Some("USDC"), Some("USD Coin (sandbox)"), Some(6))
    );
    assert_eq!(usdc.total_supply.to_string(), "300000000000000");
    let account = sandbox.account(3).await;
    for (address, code) in [(account, Code::NotFound), (sandbox.at("uniswap-v2-router").await, Code::InvalidArgument)] {
        assert_eq!(sandbox.node.token(address, BlockId::Latest).await.unwrap_err().code, code);
        assert_eq!(sandbox.node.token_balance(address, account, BlockId::Latest).await.unwrap_err().code, code);
    }
    // A pair is a token too.
    assert_eq!(
        sandbox
            .node
            .token(sandbox.at("uniswap-v2-pair-dai-usdc").await, BlockId::Latest)
            .await
            .unwrap()
            .symbol
            .as_deref(),
        Some("UNI-V2")
    );
}

#[tokio::test]
async fn blocks_transactions_and_receipts_agree() {
    let Some(sandbox) = sandbox() else { return };
    let (from, to) = (sandbox.account(1).await, sandbox.account(2).await);
    let receipt = sandbox.send(json!({ "from": from, "to": to, "value": "0x5" })).await;
    assert!(receipt.success && receipt.logs.is_empty() && receipt.contract_address.is_none());
    assert_eq!((receipt.gas_used, receipt.confirmations, receipt.from, receipt.to), (21_000, 1, from, Some(to)));
    assert_eq!(receipt.fee_wei.0, receipt.effective_gas_price_wei.0 * alloy_primitives::U256::from(21_000));

    let transaction = sandbox.node.transaction(receipt.transaction_hash).await.unwrap();
    assert_eq!((transaction.value_wei.to_string().as_str(), transaction.nonce, transaction.kind), ("5", 0, 2));
    assert_eq!(transaction.block_number, Some(receipt.block_number));
    for at in [BlockId::Latest, BlockId::Number(receipt.block_number), BlockId::Hash(receipt.block_hash)] {
        let block = sandbox.node.block(at).await.unwrap();
        assert_eq!((block.head.hash, block.transactions), (receipt.block_hash, vec![receipt.transaction_hash]), "{at}");
    }
    assert_eq!(sandbox.node.block(BlockId::Earliest).await.unwrap().head.number, 0);
    assert_eq!(sandbox.node.block(BlockId::Pending).await.unwrap_err().code, Code::InvalidArgument);
    for at in [BlockId::Number(1 << 40), BlockId::Hash(Hash::default())] {
        assert_eq!(sandbox.node.block(at).await.unwrap_err().code, Code::NotFound);
    }
    assert_eq!(sandbox.node.transaction(Hash::default()).await.unwrap_err().code, Code::NotFound);
    assert_eq!(sandbox.node.receipt(Hash::default()).await.unwrap_err().code, Code::NotFound);
    assert_eq!(sandbox.node.trace(Hash::default()).await.unwrap_err().code, Code::NotFound);
}

#[tokio::test]
async fn a_pending_transaction_has_no_receipt_yet() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.node.status().await.unwrap();
    sandbox.anvil("evm_setAutomine", json!([false])).await;
    let from = sandbox.account(1).await;
    let hash: Hash = sandbox.node.rpc.once("eth_sendTransaction", json!([{ "from": from, "to": from }])).await.unwrap();
    assert_eq!(sandbox.node.transaction(hash).await.unwrap().block_number, None);
    for fault in [sandbox.node.receipt(hash).await.unwrap_err(), sandbox.node.trace(hash).await.unwrap_err()] {
        assert_eq!((fault.code, fault.message.contains("not mined yet")), (Code::NotFound, true), "{fault}");
    }
    sandbox.anvil("evm_mine", json!([])).await;
    assert!(sandbox.mined(hash).await.success);
}

#[tokio::test]
async fn logs_by_contract_topic_and_range() {
    let Some(sandbox) = sandbox() else { return };
    let (usdc, first) = (sandbox.at("usdc").await, sandbox.account(0).await);
    let topic = Encodings.signature(TRANSFER).unwrap().hash;
    let filter =
        LogFilter { from: BlockId::Earliest, addresses: vec![usdc], topics: vec![vec![topic]], ..LogFilter::default() };
    let logs = sandbox.node.logs(&filter).await.unwrap();
    let minted = Encodings.decode_log(TRANSFER, &logs[0].topics, &logs[0].data).unwrap();
    assert_eq!(
        minted.args.iter().map(|arg| arg.value.clone()).collect::<Vec<_>>(),
        [json!(Address::default()), json!(first), json!("200000000000000")]
    );
    assert!(logs.len() > 3, "minted, and paid into pairs and pools");
    assert!(logs.is_sorted_by_key(|log| (log.block_number, log.index)));

    let from_first = Hash(first.into_word());
    let paid = LogFilter { topics: vec![vec![topic], vec![from_first]], ..filter.clone() };
    let expected: Vec<_> = logs.iter().filter(|log| log.topics[1] == from_first).cloned().collect();
    assert_eq!(sandbox.node.logs(&paid).await.unwrap(), expected);
    let by_hash = logs[0].block_hash.map(BlockId::Hash).unwrap();
    let of_block = sandbox.node.logs(&LogFilter { from: by_hash, to: by_hash, ..filter.clone() }).await.unwrap();
    let block = logs[0].block_number;
    assert_eq!(of_block, logs.iter().filter(|log| log.block_number == block).cloned().collect::<Vec<_>>());

    let head = sandbox.node.status().await.unwrap().head.number;
    for (from, to, code) in [
        (BlockId::Number(5), BlockId::Number(4), Code::InvalidArgument),
        (BlockId::Number(0), BlockId::Number(head + 100), Code::InvalidArgument),
        (by_hash, BlockId::Latest, Code::InvalidArgument),
    ] {
        assert_eq!(sandbox.node.logs(&LogFilter { from, to, ..filter.clone() }).await.unwrap_err().code, code);
    }
    sandbox.anvil("anvil_mine", json!(["0x40"])).await;
    let narrow = crate::Node { log_blocks_max: 50, ..sandbox.node.clone() };
    let wide = narrow.logs(&filter).await.unwrap_err();
    assert_eq!(wide.code, Code::TooLarge);
    assert!(wide.hint.as_ref().unwrap().contains("ask for 0 to 49 first"), "{wide}");
}

#[tokio::test]
async fn code_storage_and_gas() {
    let Some(sandbox) = sandbox() else { return };
    let (weth, pair, account) =
        (sandbox.at("weth").await, sandbox.at("uniswap-v2-pair-dai-usdc").await, sandbox.account(1).await);
    assert!(sandbox.node.code(weth, BlockId::Latest).await.unwrap().len() > 1_000);
    assert!(sandbox.node.code(account, BlockId::Latest).await.unwrap().is_empty());
    // A pair keeps its factory in slot 5.
    let slot = Hash(alloy_primitives::B256::with_last_byte(5));
    let factory = sandbox.node.storage(pair, slot, BlockId::Latest).await.unwrap();
    assert_eq!(Address(alloy_primitives::Address::from_word(factory.0)), sandbox.at("uniswap-v2-factory").await);
    assert_eq!(sandbox.node.storage(account, slot, BlockId::Latest).await.unwrap(), Hash::default());

    let deposit = CallRequest {
        from: Some(account),
        to: Some(weth),
        data: Encodings.encode_call("deposit()", &[]).unwrap(),
        value_wei: 1.into(),
        gas_limit: None,
    };
    let gas = sandbox.node.estimate_gas(&deposit, BlockId::Latest).await.unwrap();
    assert!((40_000..60_000).contains(&gas), "{gas}");
}
