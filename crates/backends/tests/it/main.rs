//! One suite per port, run on memory and on each real thing that it can be made of: what holds for one must hold for the others.

#![expect(clippy::unwrap_used, reason = "a test's helper that cannot go on fails its test")]

mod audit;
mod backup;
mod buckets;
mod bus;
mod containers;
mod etcd;
mod fanout;
mod gate;
mod keys;
mod kit;
mod locks;
mod logs;
mod model;
mod postgres;
mod processes;
mod queue;
mod rabbitmq;
mod real;
mod redis;
mod registry;
mod schedules;
mod server;
mod sqlite;
mod store;
mod workflows;
