//! The fleet through the doors its users come in by: the real binary, real clients, real processes.
//!
//! Each test has its own data folder and ports chosen by the system, so that all of them run at once.

#![expect(clippy::unwrap_used, reason = "a test's helper that cannot go on fails its test")]

mod a2a;
mod agents;
mod audit;
mod backup;
mod bad_input;
mod building;
mod cli;
mod clients;
mod conformance;
mod connect;
mod dashboard;
mod deploy;
mod discord;
mod doctor;
mod etcd;
mod fixture;
mod foundry;
mod generated;
mod harness;
mod keys;
mod models;
mod opportunities;
mod postgres;
mod python;
mod quality;
mod rabbitmq;
mod recovery;
mod redis;
mod rest;
mod risk;
mod rolling;
mod sandbox;
mod scripts;
mod serve;
mod sinks;
mod stop;
mod supervision;
mod telemetry;
mod tls;
mod top;
mod trading;
mod ui;
mod up;
mod upstream;
mod views;
mod workflows;
