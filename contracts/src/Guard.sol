// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

/// Which callback is awaited, from whom and with what: in transient storage, so that nothing is awaited between transactions.
abstract contract Guard {
    /// The callbacks: one of each lender, in the order of `Lender`, and that of a swap.
    uint256 internal constant SWAP = 5;

    // Slots of transient storage.
    uint256 private constant RUNNING = 0;
    uint256 private constant AWAITED = 1;
    uint256 private constant PROFIT = 2;

    error UnexpectedCallback(address caller);
    error NoCallback(address callee);
    error Reentered();

    modifier once() {
        if (_get(RUNNING) != 0) revert Reentered();
        _set(RUNNING, 1);
        _;
        _set(RUNNING, 0);
    }

    /// Awaits one callback of this kind from `callee` with this data.
    function _await(address callee, uint256 kind, bytes memory data) internal {
        _set(AWAITED, _word(callee, kind, keccak256(data)));
    }

    /// The caller is whom a callback of this kind with this data was awaited from; it is awaited no more.
    function _awaited(uint256 kind, bytes calldata data) internal {
        if (_get(AWAITED) != _word(msg.sender, kind, keccak256(data))) revert UnexpectedCallback(msg.sender);
        _set(AWAITED, 0);
    }

    /// Reverts when the callback did not come.
    function _came(address callee) internal view {
        if (_get(AWAITED) != 0) revert NoCallback(callee);
    }

    function _setProfit(uint256 profit) internal {
        _set(PROFIT, profit);
    }

    function _profit() internal view returns (uint256) {
        return _get(PROFIT);
    }

    function _word(address callee, uint256 kind, bytes32 data) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(callee, kind, data)));
    }

    function _set(uint256 slot, uint256 value) private {
        assembly ("memory-safe") {
            tstore(slot, value)
        }
    }

    function _get(uint256 slot) private view returns (uint256 value) {
        assembly ("memory-safe") {
            value := tload(slot)
        }
    }
}
