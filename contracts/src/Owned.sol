// SPDX-License-Identifier: MIT
pragma solidity 0.8.26;

/// One owner, changed in two steps so that it is never given to an account that nobody controls; and a switch that stops everything.
abstract contract Owned {
    address public owner;
    /// Who may take ownership by accepting it.
    address public pendingOwner;
    bool public paused;

    event OwnershipOffered(address indexed from, address indexed to);
    event OwnershipTaken(address indexed from, address indexed to);
    event PausedSet(bool paused);

    error NotOwner(address caller);
    error NotPendingOwner(address caller);
    error IsPaused();
    error ZeroAddress();

    constructor(address first) {
        if (first == address(0)) revert ZeroAddress();
        owner = first;
        emit OwnershipTaken(address(0), first);
    }

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        _;
    }

    modifier whileRunning() {
        if (paused) revert IsPaused();
        _;
    }

    /// Offers ownership. The zero address takes an offer back.
    // slither-disable-next-line missing-zero-check
    function offerOwnership(address to) external onlyOwner {
        pendingOwner = to;
        emit OwnershipOffered(owner, to);
    }

    function acceptOwnership() external {
        if (msg.sender != pendingOwner) revert NotPendingOwner(msg.sender);
        emit OwnershipTaken(owner, msg.sender);
        owner = msg.sender;
        pendingOwner = address(0);
    }

    function setPaused(bool to) external onlyOwner {
        paused = to;
        emit PausedSet(to);
    }
}
