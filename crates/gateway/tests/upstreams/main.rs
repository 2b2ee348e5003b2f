//! Upstreams that are real processes: what each of their misdeeds does to callers, to the others, and to this machine.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod http;
#[cfg(test)]
mod life;
#[cfg(test)]
mod old;
#[cfg(test)]
#[expect(dead_code, reason = "made for the tests of links, which use all of it")]
#[path = "../../../mcp/tests/links/shop.rs"]
mod shop;
#[cfg(test)]
mod trust;
