// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

import {FlashExecutor} from "../src/FlashExecutor.sol";
import {Guard} from "../src/Guard.sol";
import {Owned} from "../src/Owned.sol";
import {Tokens} from "../src/Tokens.sol";
import {Coin, RefusingCoin} from "./world/Coins.sol";
import {Vault} from "./world/Venues.sol";
import {World} from "./world/World.sol";

/// Who may do what, and when not even the owner.
contract AccessTest is World {
    using Tokens for address;

    FlashExecutor.Lender private constant BALANCER = FlashExecutor.Lender.BalancerV2;

    function testFuzz_onlyTheOwner(address stranger) public {
        vm.assume(stranger != OWNER && stranger != address(0));
        FlashExecutor.Plan memory any = plan(BALANCER, 1e18, legs());
        vm.startPrank(stranger);
        bytes memory refusal = abi.encodeWithSelector(Owned.NotOwner.selector, stranger);
        vm.expectRevert(refusal);
        executor.execute(any);
        vm.expectRevert(refusal);
        executor.sweep(usd, stranger, 1);
        vm.expectRevert(refusal);
        executor.setPaused(true);
        vm.expectRevert(refusal);
        executor.offerOwnership(stranger);
        vm.expectRevert(abi.encodeWithSelector(Owned.NotPendingOwner.selector, stranger));
        executor.acceptOwnership();
    }

    function testFuzz_noCallbackOutOfTurn(address stranger, uint256 a, bytes calldata data) public {
        bytes memory refusal = abi.encodeWithSelector(Guard.UnexpectedCallback.selector, stranger);
        uint256[] memory one = new uint256[](1);
        vm.startPrank(stranger);
        vm.expectRevert(refusal);
        executor.uniswapV2Call(address(executor), a, 0, data);
        vm.expectRevert(refusal);
        executor.uniswapV3FlashCallback(a, 0, data);
        vm.expectRevert(refusal);
        executor.uniswapV3SwapCallback(1, -1, data);
        vm.expectRevert(refusal);
        executor.unlockCallback(data);
        vm.expectRevert(refusal);
        executor.receiveFlashLoan(new address[](1), one, one, data);
        vm.expectRevert(refusal);
        executor.executeOperation(usd, a, 0, address(executor), data);
    }

    function test_ownershipIsTakenInTwoSteps() public {
        vm.prank(OWNER);
        executor.offerOwnership(address(7));
        assertEq(executor.owner(), OWNER);
        vm.prank(address(7));
        executor.acceptOwnership();
        assertEq(executor.owner(), address(7));
        assertEq(executor.pendingOwner(), address(0));
        refused(plan(BALANCER, 1e18, legs()), abi.encodeWithSelector(Owned.NotOwner.selector, OWNER));
        vm.expectRevert(Owned.ZeroAddress.selector);
        new FlashExecutor(address(0));
    }

    function test_pausedItDoesNothingButPayOut() public {
        Coin(usd).mint(address(executor), 5);
        vm.prank(OWNER);
        executor.setPaused(true);
        refused(plan(BALANCER, 1e18, legs()), abi.encodeWithSelector(Owned.IsPaused.selector));
        vm.startPrank(OWNER);
        executor.sweep(usd, OWNER, 5);
        executor.setPaused(false);
        vm.stopPrank();
        assertEq(usd.held(OWNER), 5);
        assertGt(execute(plan(BALANCER, 1e18, legs())), 0);
    }

    function test_plansThatAreNone() public {
        vm.warp(1_000);
        FlashExecutor.Plan memory late = plan(BALANCER, 1e18, legs());
        late.deadline = 999;
        refused(late, abi.encodeWithSelector(FlashExecutor.Expired.selector, 999, 1_000));
        refused(
            plan(BALANCER, 1e18, new FlashExecutor.Leg[](0)), abi.encodeWithSelector(FlashExecutor.EmptyPath.selector)
        );
        FlashExecutor.Leg[] memory open = new FlashExecutor.Leg[](1);
        open[0] = v2(cheap, eth);
        refused(plan(BALANCER, 1e18, open), abi.encodeWithSelector(FlashExecutor.BrokenPath.selector, eth, usd));
    }

    function test_aLendersMisdeeds() public {
        FlashExecutor.Plan memory any = plan(BALANCER, 1e18, legs());
        bytes memory unexpected = abi.encodeWithSelector(Guard.UnexpectedCallback.selector, address(vault));
        vault.set(Vault.Misdeed.CallsNever, 0);
        refused(any, abi.encodeWithSelector(Guard.NoCallback.selector, address(vault)));
        vault.set(Vault.Misdeed.CallsTwice, 0);
        refused(any, unexpected);
        vault.set(Vault.Misdeed.OtherData, 0);
        refused(any, unexpected);
        vault.set(Vault.Misdeed.Reenters, 0);
        refused(any, abi.encodeWithSelector(Owned.NotOwner.selector, address(vault)));
    }

    function test_evenTheOwnerDoesNotReenter() public {
        vault.set(Vault.Misdeed.Reenters, 0);
        vm.prank(OWNER);
        executor.offerOwnership(address(vault));
        vm.prank(address(vault));
        executor.acceptOwnership();
        vm.prank(address(vault));
        vm.expectRevert(Guard.Reentered.selector);
        executor.execute(plan(BALANCER, 1e18, legs()));
    }

    function test_noAllowanceOutlivesALenderThatTakesLess() public {
        aave.set(3);
        execute(plan(FlashExecutor.Lender.AaveV3, 1e18, legs()));
        assertEq(Coin(usd).allowance(address(executor), address(aave)), 0);
    }

    function test_sweepsSayWhatFailed() public {
        address refusing = address(new RefusingCoin());
        vm.deal(address(executor), 3);
        vm.startPrank(OWNER);
        executor.sweep(address(0), address(0xB0B), 2);
        assertEq(address(0xB0B).balance, 2);
        vm.expectRevert(abi.encodeWithSelector(FlashExecutor.NotSent.selector, address(0xB0B)));
        executor.sweep(address(0), address(0xB0B), 2);
        vm.expectRevert(abi.encodeWithSelector(Tokens.TransferFailed.selector, refusing));
        executor.sweep(refusing, OWNER, 0);
        vm.expectRevert(abi.encodeWithSelector(Tokens.TransferFailed.selector, address(0xD1E)));
        executor.sweep(address(0xD1E), OWNER, 0);
        vm.expectRevert(Owned.ZeroAddress.selector);
        executor.sweep(usd, address(0), 0);
    }
}
