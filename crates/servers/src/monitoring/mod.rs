//! `monitoring`: so far its query language.

pub mod promql;
