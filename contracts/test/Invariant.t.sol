// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

import {FlashExecutor} from "../src/FlashExecutor.sol";
import {Tokens} from "../src/Tokens.sol";
import {Coin} from "./world/Coins.sol";
import {World} from "./world/World.sol";

/// Does anything with the executor, in any order: good plans, bad plans, strangers, pauses, tokens that fall out of the sky.
contract Actor is World {
    using Tokens for address;

    /// What lies in the executor by other ways than its own.
    uint256 public lay;
    /// The sum of the profits that it said it made.
    uint256 public made;

    function go(uint8 which, uint256 amount, uint256 minProfit) external {
        FlashExecutor.Plan memory any = plan(FlashExecutor.Lender(which % 5), bound(amount, 0, DEEP / 10), legs());
        any.minProfit = bound(minProfit, 0, 1e21);
        vm.prank(OWNER);
        try executor.execute(any) returns (uint256 profit) {
            assertGe(profit, any.minProfit);
            made += profit;
        } catch {}
    }

    function tradeApart(uint256 amount, bool up) external {
        amount = bound(amount, 1e18, DEEP / 50);
        (address token, address other) = up ? (usd, eth) : (eth, usd);
        uint256 out = cheap.quote(token, amount);
        Coin(token).mint(address(cheap), amount);
        bool first = cheap.token0() == other;
        cheap.swap(first ? out : 0, first ? 0 : out, address(this), "");
    }

    function stranger(address who, uint8 which) external {
        if (who == OWNER) return;
        FlashExecutor.Plan memory any = plan(FlashExecutor.Lender(which % 5), 1e18, legs());
        vm.prank(who);
        try executor.execute(any) {
            assertTrue(false, "a stranger executed");
        } catch {}
    }

    function fall(uint256 amount) external {
        amount = bound(amount, 0, 1e20);
        Coin(usd).mint(address(executor), amount);
        lay += amount;
    }

    function pause(bool to) external {
        vm.prank(OWNER);
        executor.setPaused(to);
    }

    function check() external view {
        clean(lay);
        assertEq(usd.held(OWNER), made);
        assertEq(executor.owner(), OWNER);
    }
}

contract InvariantTest is World {
    Actor private actor;

    function setUp() public override {
        actor = new Actor();
        actor.setUp();
        targetContract(address(actor));
        bytes4[] memory selectors = new bytes4[](5);
        (selectors[0], selectors[1], selectors[2], selectors[3], selectors[4]) =
        (
            Actor.go.selector,
            Actor.tradeApart.selector,
            Actor.stranger.selector,
            Actor.fall.selector,
            Actor.pause.selector
        );
        targetSelector(FuzzSelector({addr: address(actor), selectors: selectors}));
    }

    /// Nothing of what lay there is lost, nothing is left behind, no allowance lives on, and the owner got every profit, to the unit.
    function invariant_itKeepsNothingAndLosesNothing() public view {
        actor.check();
    }
}
