// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

import {Guard} from "./Guard.sol";
import {IManagerV4, IPairV2, IPoolAave, IPoolV3, IVaultBalancer} from "./Interfaces.sol";
import {Owned} from "./Owned.sol";
import {Tokens} from "./Tokens.sol";

/// Borrows within one transaction, trades along a cycle of pools, gives back what is owed and pays the rest to the owner, or reverts.
///
/// What holds:
/// - Only the owner starts anything. A callback is accepted once, from the contract that is being used right now, with the data given to it.
/// - The minimum profit is checked before anything is given back, so a shortfall is `Unprofitable` and not some token's complaint.
/// - What lay here before is not touched, and no allowance outlives a call.
/// - Tokens that answer nothing are as good as others. Tokens that tax transfers pass V2 pairs, where what arrives is counted, and are refused by
///   `TransferTaxed` as a loan and by V3 pools.
contract FlashExecutor is Owned, Guard {
    using Tokens for address;

    /// Who lends. The numbers are part of the interface.
    enum Lender {
        UniswapV2,
        UniswapV3,
        UniswapV4,
        BalancerV2,
        AaveV3
    }

    /// One trade: what the leg before gave, or the loan, into `pool` for `tokenOut`.
    struct Leg {
        address pool;
        address tokenOut;
        /// Of a V2 pair, in millionths; a V3 pool knows its own.
        uint24 fee;
        bool v3;
    }

    struct Plan {
        Lender lender;
        /// The pair, pool, manager or vault that lends.
        address source;
        /// Of a V2 pair that lends, in millionths; the others say what they want.
        uint24 fee;
        address asset;
        uint256 amount;
        uint256 minProfit;
        /// In seconds since 1970: later blocks refuse.
        uint256 deadline;
        /// The last one gives the asset.
        Leg[] legs;
    }

    uint256 private constant MILLION = 1_000_000;
    // The limits of V3's prices: a swap goes as far as its input takes it.
    uint160 private constant LOWEST = 4295128740;
    uint160 private constant HIGHEST = 1461446703485210103287273052203988822378723970341;

    event Executed(
        address indexed asset,
        Lender indexed lender,
        address indexed source,
        uint256 amount,
        uint256 owed,
        uint256 profit
    );
    event Swept(address indexed token, address indexed to, uint256 amount);

    error Expired(uint256 deadline, uint256 time);
    error EmptyPath();
    /// The legs end in another token than the one that was borrowed.
    error BrokenPath(address end, address asset);
    /// A V3 pool ran out of liquidity before it had taken the whole input.
    error SwapIncomplete(uint256 leg, uint256 input, int256 taken);
    /// What was gained beyond what is owed; negative when the loan could not even be given back.
    error Unprofitable(int256 profit, uint256 minimum);
    error NotSent(address to);
    /// An amount beyond what pools count in.
    error TooLarge(uint256 amount);

    constructor(address first) Owned(first) {}

    /// Carries out a plan; returns the profit, which is the owner's by then.
    function execute(Plan calldata plan) external onlyOwner whileRunning once returns (uint256 profit) {
        // A deadline of seconds bears what a proposer can bend.
        // slither-disable-start timestamp
        // forge-lint: disable-next-line(block-timestamp)
        if (block.timestamp > plan.deadline) revert Expired(plan.deadline, block.timestamp);
        // slither-disable-end timestamp
        if (plan.legs.length == 0) revert EmptyPath();
        address end = plan.legs[plan.legs.length - 1].tokenOut;
        if (end != plan.asset) revert BrokenPath(end, plan.asset);
        uint256 before = plan.asset.held(address(this));
        _borrow(plan, before);
        _came(plan.source);
        profit = _profit();
        uint256 left = plan.asset.held(address(this));
        if (left < before + profit) revert Unprofitable(_signed(left) - _signed(before), plan.minProfit);
        if (profit > 0) plan.asset.send(owner, profit);
    }

    /// Pays out what lies here; the zero address stands for the chain's own coin.
    // slither-disable-next-line arbitrary-send-eth
    function sweep(address token, address to, uint256 amount) external onlyOwner once {
        if (to == address(0)) revert ZeroAddress();
        emit Swept(token, to, amount);
        if (token == address(0)) {
            // slither-disable-next-line low-level-calls
            (bool sent,) = to.call{value: amount}("");
            if (!sent) revert NotSent(to);
        } else {
            token.send(to, amount);
        }
    }

    // The lenders' callbacks: what is owed, then the trade, then the repayment.

    function uniswapV2Call(address sender, uint256, uint256, bytes calldata data) external {
        _awaited(uint256(Lender.UniswapV2), data);
        if (sender != address(this)) revert UnexpectedCallback(sender);
        (Plan memory plan, uint256 before) = abi.decode(data, (Plan, uint256));
        uint256 owed = plan.amount * MILLION / (MILLION - plan.fee) + 1;
        _trade(plan, before, owed);
        plan.asset.sendWhole(msg.sender, owed);
    }

    function uniswapV3FlashCallback(uint256 fee0, uint256 fee1, bytes calldata data) external {
        _awaited(uint256(Lender.UniswapV3), data);
        (Plan memory plan, uint256 before) = abi.decode(data, (Plan, uint256));
        // One of the two is 0: only one token was borrowed.
        uint256 owed = plan.amount + fee0 + fee1;
        _trade(plan, before, owed);
        plan.asset.sendWhole(msg.sender, owed);
    }

    function unlockCallback(bytes calldata data) external returns (bytes memory) {
        _awaited(uint256(Lender.UniswapV4), data);
        (Plan memory plan, uint256 before) = abi.decode(data, (Plan, uint256));
        IManagerV4 manager = IManagerV4(msg.sender);
        manager.take(plan.asset, address(this), plan.amount);
        _trade(plan, before, plan.amount);
        manager.sync(plan.asset);
        plan.asset.sendWhole(msg.sender, plan.amount);
        // slither-disable-next-line unused-return
        manager.settle();
        return "";
    }

    function receiveFlashLoan(address[] calldata, uint256[] calldata, uint256[] calldata fees, bytes calldata data)
        external
    {
        _awaited(uint256(Lender.BalancerV2), data);
        (Plan memory plan, uint256 before) = abi.decode(data, (Plan, uint256));
        uint256 owed = plan.amount + fees[0];
        _trade(plan, before, owed);
        plan.asset.sendWhole(msg.sender, owed);
    }

    function executeOperation(address, uint256, uint256 premium, address initiator, bytes calldata data)
        external
        returns (bool)
    {
        _awaited(uint256(Lender.AaveV3), data);
        if (initiator != address(this)) revert UnexpectedCallback(initiator);
        (Plan memory plan, uint256 before) = abi.decode(data, (Plan, uint256));
        uint256 owed = plan.amount + premium;
        _trade(plan, before, owed);
        // It takes exactly this when we return, and with that the allowance is used up.
        plan.asset.allow(msg.sender, owed);
        return true;
    }

    /// A V3 pool wants its input.
    function uniswapV3SwapCallback(int256 amount0, int256 amount1, bytes calldata data) external {
        _awaited(SWAP, data);
        (address token, uint256 leg, uint256 input) = abi.decode(data, (address, uint256, uint256));
        int256 taken = amount0 > 0 ? amount0 : amount1;
        if (taken != _signed(input)) revert SwapIncomplete(leg, input, taken);
        token.sendWhole(msg.sender, input);
    }

    function _borrow(Plan calldata plan, uint256 before) private {
        bytes memory data = abi.encode(plan, before);
        (address source, address asset, uint256 amount) = (plan.source, plan.asset, plan.amount);
        _await(source, uint256(plan.lender), data);
        if (plan.lender == Lender.UniswapV4) {
            // slither-disable-next-line unused-return
            IManagerV4(source).unlock(data);
        } else if (plan.lender == Lender.BalancerV2) {
            (address[] memory tokens, uint256[] memory amounts) = (new address[](1), new uint256[](1));
            (tokens[0], amounts[0]) = (asset, amount);
            IVaultBalancer(source).flashLoan(address(this), tokens, amounts, data);
        } else if (plan.lender == Lender.AaveV3) {
            IPoolAave(source).flashLoanSimple(address(this), asset, amount, data, 0);
            if (asset.allowance(source) != 0) asset.allow(source, 0);
        } else {
            // Pairs and V3 pools name their first token alike.
            bool first = IPoolV3(source).token0() == asset;
            (uint256 amount0, uint256 amount1) = first ? (amount, uint256(0)) : (uint256(0), amount);
            if (plan.lender == Lender.UniswapV2) IPairV2(source).swap(amount0, amount1, address(this), data);
            else IPoolV3(source).flash(address(this), amount0, amount1, data);
        }
    }

    /// Runs the legs on what was lent and sees that enough is gained.
    function _trade(Plan memory plan, uint256 before, uint256 owed) private {
        uint256 amount = plan.asset.held(address(this)) - before;
        if (amount < plan.amount) revert Tokens.TransferTaxed(plan.asset, plan.amount, amount);
        amount = plan.amount;
        address token = plan.asset;
        for (uint256 i = 0; i < plan.legs.length; ++i) {
            Leg memory leg = plan.legs[i];
            uint256 had = leg.tokenOut.held(address(this));
            if (leg.v3) _swapV3(leg, i, token, amount);
            else _swapV2(leg, token, amount);
            // What arrived, whatever the pool says it sent. The asset that lay here, and what of the loan is left, stay out of it.
            amount = leg.tokenOut.held(address(this)) - had;
            token = leg.tokenOut;
        }
        if (amount < owed || amount - owed < plan.minProfit) {
            revert Unprofitable(_signed(amount) - _signed(owed), plan.minProfit);
        }
        _setProfit(amount - owed);
        emit Executed(plan.asset, plan.lender, plan.source, plan.amount, owed, amount - owed);
    }

    function _swapV2(Leg memory leg, address token, uint256 amount) private {
        IPairV2 pair = IPairV2(leg.pool);
        // slither-disable-next-line unused-return
        (uint256 reserveIn, uint256 reserveOut,) = pair.getReserves();
        bool zeroForOne = token < leg.tokenOut;
        if (!zeroForOne) (reserveIn, reserveOut) = (reserveOut, reserveIn);
        token.send(leg.pool, amount);
        // What arrived: the pair counts nothing else.
        uint256 input = (token.held(leg.pool) - reserveIn) * (MILLION - leg.fee);
        uint256 output = input * reserveOut / (reserveIn * MILLION + input);
        pair.swap(zeroForOne ? 0 : output, zeroForOne ? output : 0, address(this), "");
    }

    function _swapV3(Leg memory leg, uint256 index, address token, uint256 amount) private {
        bytes memory data = abi.encode(token, index, amount);
        bool zeroForOne = token < leg.tokenOut;
        _await(leg.pool, SWAP, data);
        // slither-disable-next-line unused-return
        IPoolV3(leg.pool).swap(address(this), zeroForOne, _signed(amount), zeroForOne ? LOWEST : HIGHEST, data);
        _came(leg.pool);
    }

    function _signed(uint256 amount) private pure returns (int256) {
        if (amount > uint256(type(int256).max)) revert TooLarge(amount);
        // forge-lint: disable-next-line(unsafe-typecast)
        return int256(amount);
    }
}
