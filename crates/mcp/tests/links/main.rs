//! The client's side against servers over real sockets: ours, in every era, and ones that answer nonsense.

#[cfg(test)]
mod bad;
#[cfg(test)]
mod eras;
#[cfg(test)]
mod shop;
