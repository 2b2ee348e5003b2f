// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A number that anybody may count up.
contract Counter {
    uint256 public number;

    event Counted(address indexed by, uint256 number);

    /// Starts where whoever deploys it says.
    constructor(uint256 start) {
        number = start;
    }

    function count(uint256 by) external {
        number += by;
        emit Counted(msg.sender, number);
    }
}
