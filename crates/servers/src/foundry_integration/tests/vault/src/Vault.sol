// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

contract Vault {
    uint256 public total;
    mapping(address => uint256) public held;
    uint256 private immutable limit_;

    error TooMuch(uint256 asked, uint256 limit);

    constructor(uint256 limit) {
        limit_ = limit;
    }

    function put(uint256 amount) external {
        if (amount > limit_) revert TooMuch(amount, limit_);
        held[msg.sender] += amount;
        total += amount;
    }

    function Take(uint256 amount) external {
        held[msg.sender] -= amount;
        total -= amount;
    }
}
