//! Contract encodings: values as the ABI's bytes and back, selectors, addresses.

use kernel::chain::{AbiValue, Address, Data, Hash, SignatureKind};
use mcp::prelude::*;
use serde_json::Value;

use super::Utilities;
use super::encodings::TEXT_MAX;
use flow::bounded::{STACK, check_size};

/// Longest signature or type, in bytes.
const SIGNATURE_MAX: usize = 4 << 10;
/// Most types of one call.
const TYPES_MAX: usize = 256;

/// What [`ABI_ENCODE`](super::ABI_ENCODE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbiEncodeRequest {
    /// The values: integers as numbers up to 2^53 − 1 or as decimal text, addresses and bytes as `0x…`, arrays as arrays, tuples as
    /// arrays or as objects by component name.
    pub values: Vec<Value>,
    /// Their types, such as `["address", "uint256", "(uint24,bytes)[]"]`. Either these or `function`.
    #[serde(default)]
    pub types: Option<Vec<String>>,
    /// A function's signature, such as `transfer(address,uint256)`: the answer is then its calldata, selector first.
    #[serde(default)]
    pub function: Option<String>,
}

/// What [`ABI_ENCODE`](super::ABI_ENCODE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AbiEncodeResponse {
    /// The bytes.
    pub data: Data,
    /// How many there are.
    pub bytes: usize,
}

/// What [`ABI_DECODE`](super::ABI_DECODE) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AbiDecodeRequest {
    /// The bytes, at most 512 KiB.
    pub data: Data,
    /// The values' types. Either these or `function`.
    #[serde(default)]
    pub types: Option<Vec<String>>,
    /// A function's signature: `data` is its calldata, selector first.
    #[serde(default)]
    pub function: Option<String>,
}

/// What [`ABI_DECODE`](super::ABI_DECODE) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AbiDecodeResponse {
    /// The values, with their types, and their names where the signature gives any.
    pub values: Vec<AbiValue>,
}

/// What [`SELECTOR`](super::SELECTOR) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SelectorRequest {
    /// A human-readable signature: `transfer(address,uint256)`, `event Transfer(address indexed from, address indexed to, uint256
    /// value)`, `error Paused(uint256)`. Without a keyword it is a function.
    pub signature: String,
}

/// What [`SELECTOR`](super::SELECTOR) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct SelectorResponse {
    /// What the signature describes.
    pub kind: SignatureKind,
    /// The form that is hashed.
    pub canonical: String,
    /// What calldata, or a custom error's data, begins with: 4 bytes. Absent for events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Data>,
    /// The whole hash: an event's first topic.
    pub hash: Hash,
}

/// What [`CHECKSUM_ADDRESS`](super::CHECKSUM_ADDRESS) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChecksumAddressRequest {
    /// An address: `0x` and 40 hexadecimal digits, in one case or with a checksum.
    pub address: String,
}

/// What [`CHECKSUM_ADDRESS`](super::CHECKSUM_ADDRESS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ChecksumAddressResponse {
    /// The address with its EIP-55 checksum.
    pub address: Address,
    /// Whether it was given so.
    pub unchanged: bool,
}

/// What a call's values are described by.
enum Described {
    Types(Vec<String>),
    Function(String),
}

fn described(types: Option<Vec<String>>, function: Option<String>) -> Result<Described, Fault> {
    match (types, function) {
        (Some(types), None) => {
            if types.len() > TYPES_MAX {
                return Err(Fault::too_large(format!("{} types", types.len())).hint(format!("at most {TYPES_MAX}")));
            }
            types.iter().try_for_each(|ty| check_size("a type", ty, SIGNATURE_MAX))?;
            Ok(Described::Types(types))
        }
        (None, Some(function)) => {
            check_size("function", &function, SIGNATURE_MAX)?;
            Ok(Described::Function(function))
        }
        _ => Err(Fault::invalid("types or function").hint("give one of the two")),
    }
}

impl Utilities {
    pub(super) async fn abi_encode(
        self: Arc<Self>,
        request: AbiEncodeRequest,
        _ctx: Ctx,
    ) -> Result<AbiEncodeResponse, ToolError> {
        let abi = Arc::clone(&self.abi);
        let work = move || {
            let data = match described(request.types, request.function)? {
                Described::Types(types) => abi.encode(&types, &request.values)?,
                Described::Function(function) => abi.encode_call(&function, &request.values)?,
            };
            Ok(AbiEncodeResponse { bytes: data.len(), data })
        };
        Ok(self.gate.run("abi_encode", STACK, work).await?)
    }

    pub(super) async fn abi_decode(
        self: Arc<Self>,
        request: AbiDecodeRequest,
        _ctx: Ctx,
    ) -> Result<AbiDecodeResponse, ToolError> {
        if request.data.len() > TEXT_MAX / 2 {
            let text = format!("data has {} bytes", request.data.len());
            return Err(Fault::too_large(text).hint(format!("at most {}", TEXT_MAX / 2)).into());
        }
        let abi = Arc::clone(&self.abi);
        let work = move || {
            let values = match described(request.types, request.function)? {
                Described::Types(types) => abi.decode(&types, &request.data)?,
                Described::Function(function) => abi.decode_call(&function, &request.data)?.args,
            };
            Ok(AbiDecodeResponse { values })
        };
        Ok(self.gate.run("abi_decode", STACK, work).await?)
    }

    pub(super) fn selector(&self, request: SelectorRequest) -> Result<SelectorResponse, Fault> {
        check_size("signature", &request.signature, SIGNATURE_MAX)?;
        let signature = self.abi.signature(&request.signature)?;
        let selector = (signature.kind != SignatureKind::Event).then(|| signature.selector().to_vec());
        Ok(SelectorResponse {
            kind: signature.kind,
            selector: selector.map(|bytes| Data(bytes.into())),
            canonical: signature.canonical,
            hash: signature.hash,
        })
    }

    pub(super) fn checksum_address(&self, request: ChecksumAddressRequest) -> Result<ChecksumAddressResponse, Fault> {
        check_size("address", &request.address, 100)?;
        let address = self.abi.checksum(&request.address)?;
        Ok(ChecksumAddressResponse { unchanged: address.to_string() == request.address, address })
    }
}
