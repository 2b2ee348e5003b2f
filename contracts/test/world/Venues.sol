// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

import {FlashExecutor} from "../../src/FlashExecutor.sol";
import {IToken} from "../../src/Interfaces.sol";
import {Tokens} from "../../src/Tokens.sol";

// Venues that keep the rules of those they stand for; the executor meets the real ones on the sandbox chain.

/// A constant-product pair with Uniswap V2's rules: the invariant after fees of 0.3 %, flash swaps, a lock.
contract Pair {
    using Tokens for address;

    address public immutable token0;
    address public immutable token1;
    uint112 private reserve0;
    uint112 private reserve1;
    bool private locked;

    constructor(address a, address b) {
        (token0, token1) = a < b ? (a, b) : (b, a);
    }

    function sync() public {
        reserve0 = uint112(token0.held(address(this)));
        reserve1 = uint112(token1.held(address(this)));
    }

    function getReserves() external view returns (uint112, uint112, uint32) {
        return (reserve0, reserve1, 0);
    }

    function swap(uint256 out0, uint256 out1, address to, bytes calldata data) external {
        require(!locked, "LOCKED");
        locked = true;
        require(out0 < reserve0 && out1 < reserve1 && out0 + out1 > 0, "OUTPUT");
        if (out0 > 0) token0.send(to, out0);
        if (out1 > 0) token1.send(to, out1);
        if (data.length > 0) FlashExecutor(to).uniswapV2Call(msg.sender, out0, out1, data);
        uint256 now0 = token0.held(address(this));
        uint256 now1 = token1.held(address(this));
        uint256 in0 = now0 > reserve0 - out0 ? now0 - (reserve0 - out0) : 0;
        uint256 in1 = now1 > reserve1 - out1 ? now1 - (reserve1 - out1) : 0;
        require(in0 + in1 > 0, "INPUT");
        uint256 after_ = (now0 * 1000 - in0 * 3) * (now1 * 1000 - in1 * 3);
        require(after_ >= uint256(reserve0) * reserve1 * 1_000_000, "K");
        sync();
        locked = false;
    }

    /// What a swap of `input` gives, as V2's library has it.
    function quote(address token, uint256 input) external view returns (uint256) {
        (uint256 a, uint256 b) = token == token0 ? (reserve0, reserve1) : (reserve1, reserve0);
        return input * 997 * b / (a * 1000 + input * 997);
    }
}

/// A pool with V3's callbacks and its flash fee, that trades at one price until its liquidity is gone.
contract PoolV3 {
    using Tokens for address;

    address public immutable token0;
    address public immutable token1;
    /// Of the loan and of the input, in millionths.
    uint256 public immutable fee;
    /// What a unit of token0 is worth in token1, in millionths.
    uint256 public price;

    constructor(address a, address b, uint256 fee_, uint256 price_) {
        (token0, token1) = a < b ? (a, b) : (b, a);
        (fee, price) = (fee_, price_);
    }

    function quote(address token, uint256 input) public view returns (uint256) {
        uint256 kept = input * (1_000_000 - fee) / 1_000_000;
        return token == token0 ? kept * price / 1_000_000 : kept * 1_000_000 / price;
    }

    function swap(address to, bool zeroForOne, int256 amount, uint160, bytes calldata data)
        external
        returns (int256 amount0, int256 amount1)
    {
        require(amount > 0, "AS");
        (address tokenIn, address tokenOut) = zeroForOne ? (token0, token1) : (token1, token0);
        uint256 input = uint256(amount);
        uint256 output = quote(tokenIn, input);
        uint256 most = tokenOut.held(address(this));
        if (output > most) (input, output) = (input * most / output, most);
        tokenOut.send(to, output);
        uint256 before = tokenIn.held(address(this));
        (amount0, amount1) = zeroForOne ? (int256(input), -int256(output)) : (-int256(output), int256(input));
        FlashExecutor(msg.sender).uniswapV3SwapCallback(amount0, amount1, data);
        require(tokenIn.held(address(this)) >= before + input, "IIA");
    }

    function flash(address to, uint256 out0, uint256 out1, bytes calldata data) external {
        uint256 fee0 = (out0 * fee + 999_999) / 1_000_000;
        uint256 fee1 = (out1 * fee + 999_999) / 1_000_000;
        uint256 before0 = token0.held(address(this));
        uint256 before1 = token1.held(address(this));
        if (out0 > 0) token0.send(to, out0);
        if (out1 > 0) token1.send(to, out1);
        FlashExecutor(msg.sender).uniswapV3FlashCallback(fee0, fee1, data);
        require(token0.held(address(this)) >= before0 + fee0, "F0");
        require(token1.held(address(this)) >= before1 + fee1, "F1");
    }
}

/// V4's manager: what was taken while unlocked must be settled.
contract Manager {
    using Tokens for address;

    uint256 private owed;
    address private synced;
    uint256 private reserve;

    function unlock(bytes calldata data) external returns (bytes memory answer) {
        answer = FlashExecutor(msg.sender).unlockCallback(data);
        require(owed == 0, "CurrencyNotSettled");
    }

    function take(address currency, address to, uint256 amount) external {
        owed += amount;
        currency.send(to, amount);
    }

    function sync(address currency) external {
        (synced, reserve) = (currency, currency.held(address(this)));
    }

    function settle() external payable returns (uint256 paid) {
        paid = synced.held(address(this)) - reserve;
        owed -= paid;
    }
}

/// Balancer's vault: paid back by transfer. And its misdeeds, when told to.
contract Vault {
    using Tokens for address;

    enum Misdeed {
        None,
        CallsNever,
        CallsTwice,
        OtherData,
        Reenters
    }

    Misdeed public misdeed;
    uint256 public fee;

    function set(Misdeed to, uint256 fee_) external {
        (misdeed, fee) = (to, fee_);
    }

    function flashLoan(address to, address[] calldata tokens, uint256[] calldata amounts, bytes calldata data)
        external
    {
        uint256 before = tokens[0].held(address(this));
        uint256[] memory fees = new uint256[](1);
        fees[0] = fee;
        tokens[0].send(to, amounts[0]);
        if (misdeed == Misdeed.CallsNever) return;
        bytes memory given = misdeed == Misdeed.OtherData ? bytes.concat(data, hex"00") : data;
        if (misdeed == Misdeed.Reenters) FlashExecutor(to).sweep(tokens[0], address(this), amounts[0]);
        FlashExecutor(to).receiveFlashLoan(tokens, amounts, fees, given);
        if (misdeed == Misdeed.CallsTwice) FlashExecutor(to).receiveFlashLoan(tokens, amounts, fees, given);
        require(tokens[0].held(address(this)) >= before + fee, "BAL#515");
    }
}

/// Aave's pool: takes what is owed by allowance.
contract AavePool {
    using Tokens for address;

    uint256 public constant PREMIUM_BPS = 5;
    /// Takes less than it may, so that an allowance would be left over.
    uint256 public forgoes;

    function set(uint256 forgoes_) external {
        forgoes = forgoes_;
    }

    function flashLoanSimple(address to, address asset, uint256 amount, bytes calldata data, uint16) external {
        uint256 premium = (amount * PREMIUM_BPS + 5_000) / 10_000;
        asset.send(to, amount);
        require(FlashExecutor(to).executeOperation(asset, amount, premium, msg.sender, data), "13");
        (bool taken,) = asset.call(
            abi.encodeWithSignature(
                "transferFrom(address,address,uint256)", to, address(this), amount + premium - forgoes
            )
        );
        require(taken, "taken");
    }
}
