// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

import {FlashExecutor} from "../src/FlashExecutor.sol";
import {Tokens} from "../src/Tokens.sol";
import {Coin, SilentCoin} from "./world/Coins.sol";
import {Pair, PoolV3} from "./world/Venues.sol";
import {World} from "./world/World.sol";

/// Every lender, legs of every kind: the profit is what was computed, to the last unit.
contract LendersTest is World {
    using Tokens for address;

    function testFuzz_everyLendersProfitIsAsComputed(uint8 which, uint256 amount, uint256 lay) public {
        FlashExecutor.Lender lender = FlashExecutor.Lender(which % 5);
        amount = bound(amount, 1e6, DEEP / 50);
        Coin(usd).mint(address(executor), lay = bound(lay, 0, DEEP));
        uint256 profit = gives(amount) - owed(lender, amount);
        FlashExecutor.Plan memory exact = plan(lender, amount, legs());
        exact.minProfit = profit + 1;
        refused(exact, abi.encodeWithSelector(FlashExecutor.Unprofitable.selector, profit, profit + 1));
        exact.minProfit = profit;
        vm.expectEmit(address(executor));
        emit FlashExecutor.Executed(usd, lender, source(lender), amount, owed(lender, amount), profit);
        assertEq(execute(exact), profit);
        assertEq(usd.held(OWNER), profit);
        clean(lay);
    }

    function testFuzz_aLossIsToldAsOurs(uint8 which, uint256 amount) public {
        FlashExecutor.Lender lender = FlashExecutor.Lender(which % 5);
        amount = bound(amount, DEEP / 5, DEEP / 2);
        int256 loss = int256(gives(amount)) - int256(owed(lender, amount));
        assertLt(loss, 0);
        refused(plan(lender, amount, legs()), abi.encodeWithSelector(FlashExecutor.Unprofitable.selector, loss, 0));
    }

    function testFuzz_legsOfBothKindsInAnyMix(uint8 which, uint256 amount, uint8 mix) public {
        FlashExecutor.Lender lender = FlashExecutor.Lender(which % 5);
        amount = bound(amount, 1e9, DEEP / 100);
        // Usd to eth on the cheap pair or the pool; back on the dear pair; and over the pool once more, up to four times.
        uint256 turns = mix % 3;
        FlashExecutor.Leg[] memory path = new FlashExecutor.Leg[](2 + 2 * turns);
        uint256 out = amount;
        for (uint256 i = 0; i < turns; ++i) {
            (path[2 * i], path[2 * i + 1]) = (v3(pool, eth), v3(pool, usd));
            out = pool.quote(eth, pool.quote(usd, out));
        }
        path[2 * turns] = mix % 2 == 0 ? v2(cheap, eth) : v3(pool, eth);
        path[2 * turns + 1] = v2(dear, usd);
        out = dear.quote(eth, mix % 2 == 0 ? cheap.quote(usd, out) : pool.quote(usd, out));
        uint256 profit = out - owed(lender, amount);
        assertEq(execute(plan(lender, amount, path)), profit);
        clean(0);
    }

    function test_tokensThatAnswerNothing() public {
        usd = address(new SilentCoin());
        build();
        for (uint256 i = 0; i < 5; ++i) {
            uint256 amount = 1e21;
            uint256 profit = gives(amount) - owed(FlashExecutor.Lender(i), amount);
            assertEq(execute(plan(FlashExecutor.Lender(i), amount, legs())), profit);
            clean(0);
        }
    }

    function test_aTaxedTokenPassesPairsAndIsRefusedAsALoanAndByPools() public {
        address taxed = address(new Coin(100));
        FlashExecutor.Leg[] memory path = new FlashExecutor.Leg[](2);
        (path[0], path[1]) = (v2(pair(usd, taxed, DEEP, DEEP), taxed), v2(pair(taxed, usd, DEEP, DEEP * 2), usd));
        assertGt(execute(plan(FlashExecutor.Lender.BalancerV2, 1e21, path)), 0);

        PoolV3 taxedPool = new PoolV3(taxed, usd, 500, 1_000_000);
        Coin(usd).mint(address(taxedPool), DEEP);
        path[1] = v3(taxedPool, usd);
        vm.prank(OWNER);
        vm.expectPartialRevert(Tokens.TransferTaxed.selector);
        executor.execute(plan(FlashExecutor.Lender.BalancerV2, 1e21, path));

        usd = taxed;
        build();
        refused(
            plan(FlashExecutor.Lender.BalancerV2, 1e21, legs()),
            abi.encodeWithSelector(Tokens.TransferTaxed.selector, taxed, 1e21, 99e19)
        );
    }

    function test_aPoolThatRunsDryIsTold() public {
        PoolV3 thin = new PoolV3(usd, eth, 0, 1_000_000);
        Coin(eth).mint(address(thin), 1e18);
        FlashExecutor.Leg[] memory path = legs();
        path[0] = v3(thin, eth);
        refused(
            plan(FlashExecutor.Lender.AaveV3, 2e18, path),
            abi.encodeWithSelector(FlashExecutor.SwapIncomplete.selector, 0, 2e18, 1e18)
        );
    }

    function test_aPairIsNotLenderAndLegAtOnce() public {
        FlashExecutor.Leg[] memory path = legs();
        path[0] = v2(pairLender, eth);
        refused(plan(FlashExecutor.Lender.UniswapV2, 1e18, path), "LOCKED");
    }
}
