//! Upstreams that are real processes: what each of their misdeeds does to callers, to the others, and to this machine.

#[cfg(test)]
mod bench;
#[cfg(test)]
mod life;
#[cfg(test)]
mod old;
#[cfg(test)]
mod trust;
