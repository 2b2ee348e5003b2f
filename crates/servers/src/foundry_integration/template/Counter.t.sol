// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {Test} from "forge-std/Test.sol";
import {Counter} from "../src/Counter.sol";

contract CounterTest is Test {
    Counter private counter;

    function setUp() public {
        counter = new Counter(1);
    }

    function test_counts() public {
        counter.count(2);
        assertEq(counter.number(), 3);
    }

    function testFuzz_countsBy(uint128 by) public {
        counter.count(by);
        assertEq(counter.number(), uint256(by) + 1);
    }
}
