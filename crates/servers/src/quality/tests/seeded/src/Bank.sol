// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

interface IToken {
    function transfer(address to, uint256 amount) external returns (bool);
}

/// Wrong on purpose, once in each way that the answer key names.
contract Bank {
    mapping(address => uint256) public balances;
    address public owner = msg.sender;
    uint256 public winner;

    function deposit() external payable {
        balances[msg.sender] += msg.value;
    }

    function withdraw() external {
        uint256 amount = balances[msg.sender];
        (bool sent,) = msg.sender.call{value: amount}("");
        require(sent, "not sent");
        balances[msg.sender] = 0;
    }

    function sweep(address payable to) external {
        require(tx.origin == owner, "not the owner");
        to.call{value: address(this).balance}("");
    }

    function pay(IToken token, address to, uint256 amount) external {
        require(msg.sender == owner, "not the owner");
        token.transfer(to, amount);
    }

    function run(address logic, bytes calldata data) external returns (bytes memory) {
        (bool done, bytes memory answer) = logic.delegatecall(data);
        require(done, "not done");
        return answer;
    }

    function share(uint256 amount, uint256 parts) external pure returns (uint256) {
        return amount / parts * 100;
    }

    function draw() external {
        winner = uint256(keccak256(abi.encode(block.timestamp))) % 10;
    }

    function end() external {
        selfdestruct(payable(msg.sender));
    }
}
