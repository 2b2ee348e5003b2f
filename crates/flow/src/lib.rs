//! Work that survives: what the fleet was asked to do is kept, gone on with by whoever is there, and not done twice where that would hurt.
//!
//! Engines over the kernel's ports; they know no backend, no server and no protocol. [`worker`] does tasks of the queue, [`remote`] is the same
//! for workers in other programs, [`a2a`] is what agents of others see of it, [`schedules`] submits tasks by the clock, [`workflow`] runs definitions of many steps. Beside them is what
//! definitions are written in: jq programs ([`jq`]) and JSON Schemas ([`schema`]), both within limits that they keep themselves ([`bounded`]).

pub mod a2a;
pub mod bounded;
pub mod jq;
pub mod remote;
pub mod schedules;
pub mod schema;
pub mod worker;
pub mod workflow;
