//! What stands at an address: proxies seen through, functions found in the code.

use kernel::chain::{Address, BlockId, CallRequest, Data, Deployment, Hash};
use mcp::prelude::*;

use super::BlockchainIntegration;

/// Proxies behind proxies followed, and no further.
const HOPS_MAX: usize = 4;
/// Most functions listed.
const FUNCTIONS_MAX: usize = 400;

/// Where EIP-1967 keeps the implementation: keccak256("eip1967.proxy.implementation") − 1.
const IMPLEMENTATION: &str = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc";
/// The beacon: keccak256("eip1967.proxy.beacon") − 1.
const BEACON: &str = "0xa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6cb3582b35133d50";
/// Who may change it: keccak256("eip1967.proxy.admin") − 1.
const ADMIN: &str = "0xb53127684a568b3173ae13b9f8a6016e243e63b6e8ee1178d6a717850b5d6103";
/// EIP-1822: keccak256("PROXIABLE").
const PROXIABLE: &str = "0xc5f16f0fcc639fa48a6947836d9850f504798523bf8c9a3a87d5876cf622bcf7";
/// OpenZeppelin's proxies before EIP-1967: keccak256("org.zeppelinos.proxy.implementation").
const ZEPPELIN: &str = "0x7050c9e0f4ca769c69bd3a8ef740bc37934f8e2c036e5a723fd8ee048ed3f8c3";

/// EIP-1167's code around the implementation's address, and its shorter form with PUSH0.
const MINIMAL: [(&[u8], &[u8]); 2] = [
    (
        &[0x36, 0x3d, 0x3d, 0x37, 0x3d, 0x3d, 0x3d, 0x36, 0x3d, 0x73],
        &[0x5a, 0xf4, 0x3d, 0x82, 0x80, 0x3e, 0x90, 0x3d, 0x91, 0x60, 0x2b, 0x57, 0xfd, 0x5b, 0xf3],
    ),
    (
        &[0x36, 0x5f, 0x5f, 0x37, 0x5f, 0x5f, 0x36, 0x5f, 0x73],
        &[0x5a, 0xf4, 0x3d, 0x5f, 0x5f, 0x3e, 0x5f, 0x3d, 0x91, 0x60, 0x2a, 0x57, 0xfd, 0x5b, 0xf3],
    ),
];

/// What [`RESOLVE_CONTRACT`](super::RESOLVE_CONTRACT) takes.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveContract {
    /// The address.
    pub address: Address,
    /// At which block; the newest when absent.
    #[serde(default)]
    pub block: BlockId,
}

/// By which convention a proxy says where its code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyKind {
    /// A storage slot holds the implementation.
    Eip1967,
    /// A storage slot holds a beacon, which names the implementation.
    Eip1967Beacon,
    /// The implementation is in the code; it never changes.
    Eip1167,
    /// A storage slot of an older convention holds the implementation.
    Eip1822,
    /// A storage slot of `OpenZeppelin`'s older convention holds the implementation.
    Zeppelin,
    /// An account that lends itself a contract's code.
    Eip7702,
}

/// A proxy, and what stands behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proxy {
    /// The proxy.
    pub address: Address,
    /// By which convention.
    pub kind: ProxyKind,
    /// The contract whose code it runs.
    pub implementation: Address,
    /// The beacon that names it.
    pub beacon: Option<Address>,
    /// Who may change it, where a storage slot says.
    pub admin: Option<Address>,
}

/// A function found in a contract's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelectorInfo {
    /// The first 4 bytes of its calldata.
    pub selector: Data,
    /// Its signature, fit for call_contract; absent where the function is not widely known.
    pub signature: Option<String>,
}

/// What [`RESOLVE_CONTRACT`](super::RESOLVE_CONTRACT) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ContractAnswer {
    /// The address.
    pub address: Address,
    /// Whether code stands there.
    pub is_contract: bool,
    /// How much code, in bytes.
    pub code_bytes: usize,
    /// The hash of the code.
    pub code_hash: Option<Hash>,
    /// The proxies on the way to the code that runs, the address itself first; empty when it is none.
    pub proxies: Vec<Proxy>,
    /// The contract whose code runs: the last implementation, or the address itself.
    pub implementation: Address,
    /// The interfaces that its functions show.
    pub interfaces: Vec<String>,
    /// The functions found in the code that runs.
    pub functions: Vec<SelectorInfo>,
    /// What it is on the sandbox; absent elsewhere.
    pub deployment: Option<Deployment>,
}

impl BlockchainIntegration {
    pub(super) async fn resolve_contract(&self, request: ResolveContract) -> Result<ContractAnswer, Fault> {
        let ResolveContract { address, block } = request;
        let code = self.chain.code(address, block).await?;
        let (mut proxies, mut implementation, mut running) = (Vec::new(), address, code.clone());
        while proxies.len() < HOPS_MAX {
            let Some(proxy) = self.proxy(implementation, &running, block).await? else { break };
            implementation = proxy.implementation;
            let seen = proxies.iter().any(|before: &Proxy| before.address == implementation)
                || implementation == proxy.address;
            proxies.push(proxy);
            if seen {
                break;
            }
            running = self.chain.code(implementation, block).await?;
        }
        let selectors = selectors(&running);
        let known = self.known();
        let named = |selector: &[u8; 4]| SelectorInfo {
            selector: selector.to_vec().into(),
            signature: known.function(selector).map(ToOwned::to_owned),
        };
        Ok(ContractAnswer {
            address,
            is_contract: !code.is_empty(),
            code_bytes: code.len(),
            code_hash: (!code.is_empty()).then(|| self.abi.keccak256(&code)),
            proxies,
            implementation,
            interfaces: known.interfaces(&selectors),
            functions: selectors.iter().take(FUNCTIONS_MAX).map(named).collect(),
            deployment: self.chain.deployments().into_iter().find(|deployment| deployment.address == address),
        })
    }

    async fn proxy(&self, address: Address, code: &[u8], block: BlockId) -> Result<Option<Proxy>, Fault> {
        if code.is_empty() {
            return Ok(None);
        }
        let made = |kind, implementation| Proxy { address, kind, implementation, beacon: None, admin: None };
        if let Some(implementation) = delegated(code) {
            return Ok(Some(made(ProxyKind::Eip7702, implementation)));
        }
        if let Some(implementation) = minimal(code) {
            return Ok(Some(made(ProxyKind::Eip1167, implementation)));
        }
        let (implementation, beacon, admin, proxiable, zeppelin) = tokio::try_join!(
            self.slot(address, IMPLEMENTATION, block),
            self.slot(address, BEACON, block),
            self.slot(address, ADMIN, block),
            self.slot(address, PROXIABLE, block),
            self.slot(address, ZEPPELIN, block),
        )?;
        if let Some(beacon) = beacon.filter(|_| implementation.is_none()) {
            let implementation = self.beacon_implementation(beacon, block).await?;
            let made = |implementation| Proxy {
                beacon: Some(beacon),
                admin,
                ..made(ProxyKind::Eip1967Beacon, implementation)
            };
            return Ok(implementation.map(made));
        }
        let by_slot =
            [(ProxyKind::Eip1967, implementation), (ProxyKind::Zeppelin, zeppelin), (ProxyKind::Eip1822, proxiable)];
        let found = by_slot.into_iter().find_map(|(kind, implementation)| Some(made(kind, implementation?)));
        Ok(found.map(|proxy| Proxy { admin, ..proxy }))
    }

    /// The address in a storage slot, if it holds one.
    async fn slot(&self, address: Address, slot: &str, block: BlockId) -> Result<Option<Address>, Fault> {
        let word = self.chain.storage(address, slot.parse()?, block).await?;
        let (padding, bytes) = word.split_at(12);
        Ok(padding.iter().all(|byte| *byte == 0).then(|| bytes_to_address(bytes)).flatten())
    }

    /// What a beacon names; none where it names nothing.
    async fn beacon_implementation(&self, beacon: Address, block: BlockId) -> Result<Option<Address>, Fault> {
        let call = CallRequest::read(beacon, self.abi.encode_call("implementation()", &[])?);
        match self.chain.call(&call, block).await {
            Ok(data) => Ok(data.get(12..32).and_then(bytes_to_address)),
            Err(fault) if fault.code == Code::Reverted => Ok(None),
            Err(fault) => Err(fault),
        }
    }
}

fn bytes_to_address(bytes: &[u8]) -> Option<Address> {
    let bytes: [u8; 20] = bytes.try_into().ok()?;
    (bytes != [0; 20]).then(|| Address::from(bytes))
}

/// The contract to which an account delegates itself (EIP-7702).
fn delegated(code: &[u8]) -> Option<Address> {
    code.strip_prefix(&[0xef, 0x01, 0x00]).and_then(bytes_to_address)
}

/// The implementation in a minimal proxy's code (EIP-1167).
fn minimal(code: &[u8]) -> Option<Address> {
    MINIMAL.iter().find_map(|(before, after)| bytes_to_address(code.strip_prefix(*before)?.strip_suffix(*after)?))
}

/// The selectors that a contract's dispatcher compares calldata with: 4-byte constants that an equality follows.
fn selectors(code: &[u8]) -> Vec<[u8; 4]> {
    const PUSH1: u8 = 0x60;
    const PUSH4: u8 = 0x63;
    const PUSH32: u8 = 0x7f;
    let mut found: Vec<[u8; 4]> = Vec::new();
    let mut at = 0;
    while let Some(op) = code.get(at).filter(|_| !begins_another(&code[at..])) {
        let size = if (PUSH1..=PUSH32).contains(op) { usize::from(op - PUSH1) + 1 } else { 0 };
        if *op == PUSH4
            && let Some(selector) = code.get(at + 1..at + 5).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
            && compares(&code[at + 5..])
            && !found.contains(&selector)
        {
            found.push(selector);
        }
        at += 1 + size;
    }
    found
}

/// Whether the code of a contract that this one creates begins here: an INVALID, then memory set up as compilers do.
fn begins_another(code: &[u8]) -> bool {
    matches!(code, [0xfe, 0x60, _, 0x60, 0x40, 0x52, ..] | [0xfe, 0x60, _, 0x80, 0x60, 0x40, 0x52, ..])
}

/// Whether the next thing done is a comparison for equality, with at most one other instruction before it.
fn compares(code: &[u8]) -> bool {
    // EQ, and what Vyper uses in its place: XOR; between them DUP2.
    matches!(code, [0x14 | 0x18, ..] | [0x81, 0x14 | 0x18, ..])
}

#[cfg(test)]
mod tests {
    use evm::Encodings;
    use kernel::chain::Abi;

    use super::*;

    /// The hash of `text`, less one.
    fn less_one(text: &str) -> String {
        let mut hash = Encodings.keccak256(text.as_bytes()).0.0;
        hash[31] -= 1;
        Data::from(hash.to_vec()).to_string()
    }

    #[test]
    fn the_slots_are_what_they_are_said_to_be() {
        assert_eq!(IMPLEMENTATION, less_one("eip1967.proxy.implementation"));
        assert_eq!(BEACON, less_one("eip1967.proxy.beacon"));
        assert_eq!(ADMIN, less_one("eip1967.proxy.admin"));
        assert_eq!(PROXIABLE, Encodings.keccak256(b"PROXIABLE").to_string());
        assert_eq!(ZEPPELIN, Encodings.keccak256(b"org.zeppelinos.proxy.implementation").to_string());
    }

    #[test]
    fn constants_in_data_are_no_selectors() {
        let code = [
            0x63, 1, 2, 3, 4, 0x14, // compared
            0x80, 0x63, 5, 6, 7, 8, 0x81, 0x14, // compared after DUP2
            0x63, 9, 9, 9, 9, 0x01, // added
            0x64, 0x63, 1, 1, 1, 1, 0x14, // inside a PUSH5
            0x63, 1, 2, 3, 4, 0x14, // again
            0x63, 1, 2, // cut off
        ];
        assert_eq!(selectors(&code), [[1, 2, 3, 4], [5, 6, 7, 8]]);
    }
}
