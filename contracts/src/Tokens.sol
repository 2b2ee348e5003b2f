// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

import {IToken} from "./Interfaces.sol";

/// Moving tokens, also those that answer nothing where the standard wants `true`.
library Tokens {
    error TransferFailed(address token);
    /// What arrived is less than what was sent: a token that taxes transfers where that cannot be borne.
    error TransferTaxed(address token, uint256 sent, uint256 received);

    function held(address token, address by) internal view returns (uint256) {
        return IToken(token).balanceOf(by);
    }

    /// What `spender` may still take of ours.
    function allowance(address token, address spender) internal view returns (uint256) {
        return IToken(token).allowance(address(this), spender);
    }

    function send(address token, address to, uint256 amount) internal {
        // transfer(address,uint256)
        _call(token, abi.encodeWithSelector(0xa9059cbb, to, amount));
    }

    /// Sends, and reverts when less arrives. That the balance is older than the call is the point of it.
    // slither-disable-next-line reentrancy-balance
    function sendWhole(address token, address to, uint256 amount) internal {
        uint256 before = held(token, to);
        send(token, to, amount);
        uint256 received = held(token, to) - before;
        if (received < amount) revert TransferTaxed(token, amount, received);
    }

    function allow(address token, address spender, uint256 amount) internal {
        // approve(address,uint256)
        _call(token, abi.encodeWithSelector(0x095ea7b3, spender, amount));
    }

    function _call(address token, bytes memory data) private {
        // slither-disable-next-line low-level-calls
        (bool success, bytes memory answer) = token.call(data);
        bool said =
            answer.length == 0 ? token.code.length > 0 : answer.length >= 32 && abi.decode(answer, (uint256)) == 1;
        if (!success || !said) revert TransferFailed(token);
    }
}
