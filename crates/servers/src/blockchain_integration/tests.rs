//! Every tool, offline and on a sandbox chain, called as a client calls it.

use kernel::Caller;

use crate::testing::viewer;

mod offline;
mod online;
mod world;

const ALICE: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const BOB: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const TRANSFER: &str = "event Transfer(address indexed from, address indexed to, uint256 value)";

fn anyone() -> Caller {
    viewer("ann")
}
