// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {Test} from "forge-std/Test.sol";
import {Vault} from "../src/Vault.sol";

contract VaultTest is Test {
    Vault private vault;

    function setUp() public {
        vault = new Vault(100);
    }

    function test_puts() public {
        vault.put(7);
        assertEq(vault.total(), 7);
    }

    function test_countsWrong() public {
        vault.put(7);
        assertEq(vault.total(), 8, "the total");
    }

    function testFuzz_putsWithinTheLimit(uint256 amount) public {
        vault.put(bound(amount, 0, 100));
    }

    function testFuzz_putsAnything(uint256 amount) public {
        vault.put(amount);
    }
}
