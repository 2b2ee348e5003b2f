//! Encodings that a test did not ask for: every method that would need them answers [`Code::NotConfigured`](crate::Code::NotConfigured).

use serde_json::Value;

use crate::chain::{Abi, AbiValue, Data, DecodedCall, DecodedLog, EncodedLog, Hash, Revert, Signature};
use crate::{Fault, Result};

/// Stands where a test needs no encodings. Real ones need no node: `evm` has them.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAbi;

fn no<T>() -> Result<T> {
    Err(Fault::not_configured("the fake world has no contract encodings").hint("`World::abi` puts some there"))
}

impl Abi for NoAbi {
    fn signature(&self, _: &str) -> Result<Signature> {
        no()
    }

    fn encode(&self, _: &[String], _: &[Value]) -> Result<Data> {
        no()
    }

    fn decode(&self, _: &[String], _: &[u8]) -> Result<Vec<AbiValue>> {
        no()
    }

    fn encode_call(&self, _: &str, _: &[Value]) -> Result<Data> {
        no()
    }

    fn decode_call(&self, _: &str, _: &[u8]) -> Result<DecodedCall> {
        no()
    }

    fn decode_output(&self, _: &str, _: &[u8]) -> Result<Vec<AbiValue>> {
        no()
    }

    fn encode_log(&self, _: &str, _: &[Value]) -> Result<EncodedLog> {
        no()
    }

    fn decode_log(&self, _: &str, _: &[Hash], _: &[u8]) -> Result<DecodedLog> {
        no()
    }

    fn decode_revert(&self, _: &[u8], _: &[String]) -> Result<Revert> {
        no()
    }
}
