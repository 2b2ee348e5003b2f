// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

import {Script} from "forge-std/Script.sol";
import {console} from "forge-std/console.sol";
import {Vault} from "../src/Vault.sol";

contract Make is Script {
    function run(uint256 limit) external returns (uint256 total) {
        Vault vault = new Vault(limit);
        vault.put(limit);
        console.log("put", limit);
        total = vault.total();
    }
}
