//! What is signed here, the chain takes for its sender's.

use kernel::Code;
use kernel::chain::{Abi, Access, BlockId, Chain, Data, Fees, Hash, TRANSACTION_GAS_MAX, Unsigned};
use serde_json::json;

use super::world::sandbox;
use crate::{Encodings, sandbox_signer};

#[tokio::test]
async fn a_signed_transaction_is_the_senders_with_and_without_an_access_list() {
    let Some(sandbox) = sandbox() else { return };
    let signer = sandbox_signer().unwrap();
    assert_eq!(signer.address(), sandbox.account(9).await);
    let weth = sandbox.at("weth").await;
    let slot = Hash(alloy_primitives::B256::with_last_byte(3));
    let access = Access { address: weth, slots: vec![slot, Hash::default()] };
    for (nonce, to, data, access_list) in [
        (0, Some(weth), Encodings.encode_call("deposit()", &[]).unwrap(), vec![access]),
        (1, Some(signer.address()), Data::from(vec![7; 300]), Vec::new()),
        (2, None, "0x600a600c600039600a6000f3600760005260206000f3".parse().unwrap(), Vec::new()),
    ] {
        let unsigned = Unsigned {
            chain_id: sandbox.node.rpc.chain_id().await.unwrap(),
            nonce,
            to,
            value_wei: u64::from(nonce != 2).into(),
            data: data.clone(),
            gas_limit: 200_000,
            fees: Fees { max_fee_per_gas_wei: 3_000_000_000.into(), max_priority_fee_per_gas_wei: 1_000.into() },
            access_list,
        };
        let signed = signer.sign(&unsigned).await.unwrap();
        let hash: Hash = sandbox.node.rpc.once("eth_sendRawTransaction", json!([signed.raw])).await.unwrap();
        assert_eq!(hash, signed.hash);
        let receipt = sandbox.mined(hash).await;
        assert!(receipt.success && receipt.from == signer.address());
        let sent = sandbox.node.transaction(hash).await.unwrap();
        assert_eq!((sent.nonce, sent.to, sent.input, sent.kind), (nonce, to, data, 2));
        assert_eq!(sent.max_fee_per_gas_wei, Some(unsigned.fees.max_fee_per_gas_wei));
        let huge = Unsigned { gas_limit: TRANSACTION_GAS_MAX + 1, ..unsigned };
        assert_eq!(signer.sign(&huge).await.unwrap_err().code, Code::InvalidArgument);
    }
    assert_eq!(sandbox.node.token_balance(weth, signer.address(), BlockId::Latest).await.unwrap(), 1.into());
}
