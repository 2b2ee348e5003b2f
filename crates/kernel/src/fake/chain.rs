//! A chain and encodings that nobody configured: every method answers [`Code::NotConfigured`](crate::Code::NotConfigured).

use crate::chain::{Abi, Chain};

/// Stands where a test needs no chain.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unconfigured;

impl Chain for Unconfigured {}

impl Abi for Unconfigured {}
