//! The server on pools that a test made, and on a sandbox's.

mod offline;
mod online;
