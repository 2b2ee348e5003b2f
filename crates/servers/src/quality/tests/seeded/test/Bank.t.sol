// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {Bank} from "../src/Bank.sol";

contract BankTest {
    Bank private bank = new Bank();

    function test_deposits() public {
        bank.deposit{value: 1}();
        require(bank.balances(address(this)) == 1, "not one");
    }

    function test_shares() public view {
        require(bank.share(7, 2) == 350, "not three and a half");
    }
}
