//! Functions and events in wide use, so that calls, logs and contracts can be named without being told their signatures.

use std::collections::HashMap;

use kernel::chain::{Abi, DecodedCall, DecodedLog, Hash, Log};

const FUNCTIONS: [&str; 84] = [
    "name()(string)",
    "symbol()(string)",
    "decimals()(uint8)",
    "totalSupply()(uint256)",
    "balanceOf(address account)(uint256)",
    "allowance(address owner,address spender)(uint256)",
    "transfer(address to,uint256 amount)(bool)",
    "approve(address spender,uint256 amount)(bool)",
    "transferFrom(address from,address to,uint256 amount)(bool)",
    "increaseAllowance(address spender,uint256 addedValue)(bool)",
    "decreaseAllowance(address spender,uint256 subtractedValue)(bool)",
    "mint(address to,uint256 amount)",
    "mint(uint256 amount)",
    "burn(uint256 amount)",
    "permit(address owner,address spender,uint256 value,uint256 deadline,uint8 v,bytes32 r,bytes32 s)",
    "nonces(address owner)(uint256)",
    "DOMAIN_SEPARATOR()(bytes32)",
    "deposit()",
    "withdraw(uint256 amount)",
    "ownerOf(uint256 tokenId)(address)",
    "tokenURI(uint256 tokenId)(string)",
    "getApproved(uint256 tokenId)(address)",
    "isApprovedForAll(address owner,address operator)(bool)",
    "setApprovalForAll(address operator,bool approved)",
    "safeTransferFrom(address from,address to,uint256 tokenId)",
    "safeTransferFrom(address from,address to,uint256 tokenId,bytes data)",
    "balanceOfBatch(address[] accounts,uint256[] ids)(uint256[])",
    "supportsInterface(bytes4 interfaceId)(bool)",
    "asset()(address)",
    "totalAssets()(uint256)",
    "convertToShares(uint256 assets)(uint256)",
    "convertToAssets(uint256 shares)(uint256)",
    "deposit(uint256 assets,address receiver)(uint256)",
    "redeem(uint256 shares,address receiver,address owner)(uint256)",
    "owner()(address)",
    "transferOwnership(address newOwner)",
    "renounceOwnership()",
    "paused()(bool)",
    "pause()",
    "unpause()",
    "implementation()(address)",
    "admin()(address)",
    "upgradeTo(address newImplementation)",
    "upgradeToAndCall(address newImplementation,bytes data)",
    "multicall(bytes[] data)(bytes[])",
    "aggregate3((address target,bool allowFailure,bytes callData)[] calls)((bool success,bytes returnData)[])",
    "factory()(address)",
    "WETH()(address)",
    "token0()(address)",
    "token1()(address)",
    "getReserves()(uint112 reserve0,uint112 reserve1,uint32 blockTimestampLast)",
    "swap(uint256 amount0Out,uint256 amount1Out,address to,bytes data)",
    "sync()",
    "skim(address to)",
    "kLast()(uint256)",
    "price0CumulativeLast()(uint256)",
    "price1CumulativeLast()(uint256)",
    "getPair(address tokenA,address tokenB)(address)",
    "createPair(address tokenA,address tokenB)(address)",
    "allPairsLength()(uint256)",
    "feeTo()(address)",
    "addLiquidity(address tokenA,address tokenB,uint256 amountADesired,uint256 amountBDesired,uint256 amountAMin,uint256 amountBMin,address to,uint256 deadline)(uint256,uint256,uint256)",
    "addLiquidityETH(address token,uint256 amountTokenDesired,uint256 amountTokenMin,uint256 amountETHMin,address to,uint256 deadline)(uint256,uint256,uint256)",
    "removeLiquidity(address tokenA,address tokenB,uint256 liquidity,uint256 amountAMin,uint256 amountBMin,address to,uint256 deadline)(uint256,uint256)",
    "swapExactTokensForTokens(uint256 amountIn,uint256 amountOutMin,address[] path,address to,uint256 deadline)(uint256[])",
    "swapTokensForExactTokens(uint256 amountOut,uint256 amountInMax,address[] path,address to,uint256 deadline)(uint256[])",
    "swapExactETHForTokens(uint256 amountOutMin,address[] path,address to,uint256 deadline)(uint256[])",
    "swapExactTokensForETH(uint256 amountIn,uint256 amountOutMin,address[] path,address to,uint256 deadline)(uint256[])",
    "getAmountsOut(uint256 amountIn,address[] path)(uint256[])",
    "getAmountsIn(uint256 amountOut,address[] path)(uint256[])",
    "slot0()(uint160 sqrtPriceX96,int24 tick,uint16 observationIndex,uint16 observationCardinality,uint16 observationCardinalityNext,uint8 feeProtocol,bool unlocked)",
    "liquidity()(uint128)",
    "fee()(uint24)",
    "tickSpacing()(int24)",
    "swap(address recipient,bool zeroForOne,int256 amountSpecified,uint160 sqrtPriceLimitX96,bytes data)(int256,int256)",
    "flash(address recipient,uint256 amount0,uint256 amount1,bytes data)",
    "observe(uint32[] secondsAgos)(int56[],uint160[])",
    "getPool(address tokenA,address tokenB,uint24 fee)(address)",
    "createPool(address tokenA,address tokenB,uint24 fee)(address)",
    "exactInputSingle((address tokenIn,address tokenOut,uint24 fee,address recipient,uint256 deadline,uint256 amountIn,uint256 amountOutMinimum,uint160 sqrtPriceLimitX96) params)(uint256)",
    "flashLoanSimple(address receiverAddress,address asset,uint256 amount,bytes params,uint16 referralCode)",
    "flashLoan(address recipient,address[] tokens,uint256[] amounts,bytes userData)",
    "latestRoundData()(uint80 roundId,int256 answer,uint256 startedAt,uint256 updatedAt,uint80 answeredInRound)",
    "supply(address asset,uint256 amount,address onBehalfOf,uint16 referralCode)",
];

const EVENTS: [&str; 24] = [
    "event Transfer(address indexed from,address indexed to,uint256 value)",
    "event Transfer(address indexed from,address indexed to,uint256 indexed tokenId)",
    "event Approval(address indexed owner,address indexed spender,uint256 value)",
    "event Approval(address indexed owner,address indexed approved,uint256 indexed tokenId)",
    "event ApprovalForAll(address indexed owner,address indexed operator,bool approved)",
    "event TransferSingle(address indexed operator,address indexed from,address indexed to,uint256 id,uint256 value)",
    "event Deposit(address indexed dst,uint256 wad)",
    "event Withdrawal(address indexed src,uint256 wad)",
    "event Deposit(address indexed sender,address indexed owner,uint256 assets,uint256 shares)",
    "event OwnershipTransferred(address indexed previousOwner,address indexed newOwner)",
    "event Upgraded(address indexed implementation)",
    "event AdminChanged(address previousAdmin,address newAdmin)",
    "event PairCreated(address indexed token0,address indexed token1,address pair,uint256 count)",
    "event Sync(uint112 reserve0,uint112 reserve1)",
    "event Swap(address indexed sender,uint256 amount0In,uint256 amount1In,uint256 amount0Out,uint256 amount1Out,address indexed to)",
    "event Mint(address indexed sender,uint256 amount0,uint256 amount1)",
    "event Burn(address indexed sender,uint256 amount0,uint256 amount1,address indexed to)",
    "event PoolCreated(address indexed token0,address indexed token1,uint24 indexed fee,int24 tickSpacing,address pool)",
    "event Swap(address indexed sender,address indexed recipient,int256 amount0,int256 amount1,uint160 sqrtPriceX96,uint128 liquidity,int24 tick)",
    "event Flash(address indexed sender,address indexed recipient,uint256 amount0,uint256 amount1,uint256 paid0,uint256 paid1)",
    "event FlashLoan(address indexed target,address initiator,address indexed asset,uint256 amount,uint8 interestRateMode,uint256 premium,uint16 indexed referralCode)",
    "event FlashLoan(address indexed recipient,address indexed token,uint256 amount,uint256 feeAmount)",
    "event AnswerUpdated(int256 indexed current,uint256 indexed roundId,uint256 updatedAt)",
    "event Paused(address account)",
];

/// Interfaces and the functions whose presence shows them.
const INTERFACES: [(&str, &[&str]); 14] = [
    (
        "erc20",
        &[
            "totalSupply()",
            "balanceOf(address)",
            "allowance(address,address)",
            "transfer(address,uint256)",
            "approve(address,uint256)",
            "transferFrom(address,address,uint256)",
        ],
    ),
    (
        "erc20-permit",
        &["permit(address,address,uint256,uint256,uint8,bytes32,bytes32)", "nonces(address)", "DOMAIN_SEPARATOR()"],
    ),
    (
        "erc721",
        &[
            "balanceOf(address)",
            "ownerOf(uint256)",
            "getApproved(uint256)",
            "setApprovalForAll(address,bool)",
            "transferFrom(address,address,uint256)",
        ],
    ),
    ("erc4626", &["asset()", "totalAssets()", "convertToShares(uint256)", "convertToAssets(uint256)"]),
    ("wrapped-native", &["deposit()", "withdraw(uint256)", "balanceOf(address)", "transfer(address,uint256)"]),
    ("ownable", &["owner()", "transferOwnership(address)"]),
    ("uniswap-v2-pair", &["getReserves()", "token0()", "token1()", "swap(uint256,uint256,address,bytes)", "sync()"]),
    ("uniswap-v2-factory", &["getPair(address,address)", "createPair(address,address)", "allPairsLength()"]),
    (
        "uniswap-v2-router",
        &[
            "WETH()",
            "factory()",
            "swapExactTokensForTokens(uint256,uint256,address[],address,uint256)",
            "getAmountsOut(uint256,address[])",
        ],
    ),
    (
        "uniswap-v3-pool",
        &["slot0()", "liquidity()", "fee()", "flash(address,uint256,uint256,bytes)", "observe(uint32[])"],
    ),
    ("uniswap-v3-factory", &["getPool(address,address,uint24)", "createPool(address,address,uint24)"]),
    (
        "aave-v3-pool",
        &["flashLoanSimple(address,address,uint256,bytes,uint16)", "supply(address,uint256,address,uint16)"],
    ),
    ("balancer-v2-vault", &["flashLoan(address,address[],uint256[],bytes)", "WETH()"]),
    ("chainlink-feed", &["latestRoundData()", "decimals()"]),
];

/// The tables, hashed.
pub(super) struct Known {
    /// By selector: the signature, and its canonical form.
    functions: HashMap<[u8; 4], (&'static str, String)>,
    /// By first topic: how many values are indexed, and the signature.
    events: HashMap<Hash, Vec<(usize, &'static str)>>,
}

impl Known {
    pub(super) fn new(abi: &dyn Abi) -> Self {
        // The tables are ours and tested to parse: an entry is missing only where there are no encodings at all.
        let read = |text: &&'static str| abi.signature(text).ok().map(|signature| (*text, signature));
        let functions = FUNCTIONS
            .iter()
            .filter_map(read)
            .map(|(text, signature)| (signature.selector(), (text, signature.canonical)));
        let mut events: HashMap<Hash, Vec<_>> = HashMap::new();
        for (text, signature) in EVENTS.iter().filter_map(read) {
            let indexed = signature.inputs.iter().filter(|input| input.indexed).count();
            events.entry(signature.hash).or_default().push((indexed, text));
        }
        Self { functions: functions.collect(), events }
    }

    /// The signature of the function with this selector.
    pub(super) fn function(&self, selector: &[u8; 4]) -> Option<&'static str> {
        self.functions.get(selector).map(|(text, _)| *text)
    }

    /// Calldata, if it is a call of a known function.
    pub(super) fn call(&self, abi: &dyn Abi, data: &[u8]) -> Option<DecodedCall> {
        let function = self.function(data.first_chunk()?)?;
        // Another function of the same selector, or nonsense: not known after all.
        abi.decode_call(function, data).ok()
    }

    /// A log, if it is of a known event.
    pub(super) fn log(&self, abi: &dyn Abi, topics: &[Hash], data: &[u8]) -> Option<DecodedLog> {
        let candidates = self.events.get(topics.first()?)?;
        let fitting = candidates.iter().filter(|(indexed, _)| indexed + 1 == topics.len());
        fitting.filter_map(|(_, event)| abi.decode_log(event, topics, data).ok()).next()
    }

    /// The same for a log as read.
    pub(super) fn read_log(&self, abi: &dyn Abi, log: &Log) -> Option<DecodedLog> {
        self.log(abi, &log.topics, &log.data)
    }

    /// The interfaces that code with these selectors has.
    pub(super) fn interfaces(&self, selectors: &[[u8; 4]]) -> Vec<String> {
        let has = |canonical: &&str| {
            selectors.iter().any(|selector| self.functions.get(selector).is_some_and(|(_, known)| known == canonical))
        };
        let shown = INTERFACES.iter().filter(|(_, functions)| functions.iter().all(&has));
        shown.map(|(name, _)| (*name).to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use evm::Encodings;

    use super::*;

    #[test]
    fn every_entry_parses_and_every_interface_is_made_of_known_functions() {
        let known = Known::new(&Encodings);
        assert_eq!(known.functions.len(), FUNCTIONS.len());
        assert_eq!(known.events.values().map(Vec::len).sum::<usize>(), EVENTS.len());
        for (name, functions) in INTERFACES {
            for function in functions {
                assert!(known.functions.values().any(|(_, canonical)| canonical == function), "{name}: {function}");
            }
        }
    }
}
