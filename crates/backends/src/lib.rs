//! The ports of `kernel` made of real things: [`sqlite`] keeps small values, events and the audit trail in one file, [`logs`] keeps log
//! lines in a file a day, [`backup`] puts all that a data folder has into one file, and back, [`jail`] shuts other people's programs in.
//!
//! Invariants:
//! - Several processes may share one data folder: every write is one `BEGIN IMMEDIATE` transaction that reads what it builds on.
//! - What is returned as done is durable against the process's death, and with [`sqlite::Synchronous::Full`] against a power cut.
//! - The SQL is what PostgreSQL would also run; what differs by database stands in `db.rs`, in `sqlite/schema.rs` and, for full text, in `logs`.
//! - No SQL and no database error leaves this crate: everything is a [`kernel::Fault`].

pub mod backup;
mod db;
pub mod jail;
pub mod logs;
pub mod sqlite;
