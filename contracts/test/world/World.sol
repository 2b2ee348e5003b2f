// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

import {Test} from "forge-std/Test.sol";

import {FlashExecutor} from "../../src/FlashExecutor.sol";
import {Tokens} from "../../src/Tokens.sol";
import {Coin} from "./Coins.sol";
import {AavePool, Manager, Pair, PoolV3, Vault} from "./Venues.sol";

/// Two coins, two pairs and a pool whose prices are apart, and every lender.
abstract contract World is Test {
    using Tokens for address;

    address internal constant OWNER = address(0xA11CE);
    uint256 internal constant DEEP = 1e24;

    FlashExecutor internal executor;
    address internal usd;
    address internal eth;
    Pair internal cheap;
    Pair internal dear;
    PoolV3 internal pool;
    Pair internal pairLender;
    PoolV3 internal poolLender;
    Manager internal manager;
    Vault internal vault;
    AavePool internal aave;

    function setUp() public virtual {
        usd = address(new Coin(0));
        eth = address(new Coin(0));
        build();
    }

    function build() internal {
        executor = new FlashExecutor(OWNER);
        cheap = pair(usd, eth, DEEP, DEEP);
        dear = pair(usd, eth, DEEP * 11 / 10, DEEP);
        pool = new PoolV3(usd, eth, 500, 1_000_000);
        (pairLender, poolLender) = (pair(usd, eth, DEEP, DEEP), new PoolV3(usd, eth, 500, 1_000_000));
        (manager, vault, aave) = (new Manager(), new Vault(), new AavePool());
        address[5] memory rich = [address(pool), address(poolLender), address(manager), address(vault), address(aave)];
        for (uint256 i = 0; i < rich.length; ++i) {
            Coin(usd).mint(rich[i], DEEP);
            Coin(eth).mint(rich[i], DEEP);
        }
    }

    function pair(address a, address b, uint256 ofA, uint256 ofB) internal returns (Pair made) {
        made = new Pair(a, b);
        Coin(a).mint(address(made), ofA);
        Coin(b).mint(address(made), ofB);
        made.sync();
    }

    function source(FlashExecutor.Lender lender) internal view returns (address) {
        address[5] memory all =
            [address(pairLender), address(poolLender), address(manager), address(vault), address(aave)];
        return all[uint256(lender)];
    }

    function owed(FlashExecutor.Lender lender, uint256 amount) internal pure returns (uint256) {
        if (lender == FlashExecutor.Lender.UniswapV2) return amount * 1000 / 997 + 1;
        if (lender == FlashExecutor.Lender.UniswapV3) return amount + (amount * 500 + 999_999) / 1_000_000;
        if (lender == FlashExecutor.Lender.AaveV3) return amount + (amount * 5 + 5_000) / 10_000;
        return amount;
    }

    function v2(Pair through, address to) internal pure returns (FlashExecutor.Leg memory) {
        return FlashExecutor.Leg({pool: address(through), tokenOut: to, fee: 3_000, v3: false});
    }

    function v3(PoolV3 through, address to) internal pure returns (FlashExecutor.Leg memory) {
        return FlashExecutor.Leg({pool: address(through), tokenOut: to, fee: 0, v3: true});
    }

    /// Buys on the cheap pair, sells on the dear one.
    function legs() internal view returns (FlashExecutor.Leg[] memory made) {
        made = new FlashExecutor.Leg[](2);
        (made[0], made[1]) = (v2(cheap, eth), v2(dear, usd));
    }

    function plan(FlashExecutor.Lender lender, uint256 amount, FlashExecutor.Leg[] memory through)
        internal
        view
        returns (FlashExecutor.Plan memory)
    {
        return FlashExecutor.Plan({
            lender: lender,
            source: source(lender),
            fee: 3_000,
            asset: usd,
            amount: amount,
            minProfit: 0,
            deadline: block.timestamp,
            legs: through
        });
    }

    function execute(FlashExecutor.Plan memory what) internal returns (uint256) {
        vm.prank(OWNER);
        return executor.execute(what);
    }

    function refused(FlashExecutor.Plan memory what, bytes memory with) internal {
        vm.prank(OWNER);
        vm.expectRevert(with);
        executor.execute(what);
    }

    /// What buying cheap and selling dear gives for `amount`.
    function gives(uint256 amount) internal view returns (uint256) {
        return dear.quote(eth, cheap.quote(usd, amount));
    }

    /// Nothing is left in the executor beyond what lay there, and nobody may take any of it.
    function clean(uint256 lay) internal view {
        assertEq(usd.held(address(executor)), lay);
        assertEq(eth.held(address(executor)), 0);
        for (uint256 i = 0; i < 5; ++i) {
            assertEq(Coin(usd).allowance(address(executor), source(FlashExecutor.Lender(i))), 0);
        }
    }
}
