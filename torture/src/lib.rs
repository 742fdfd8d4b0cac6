//! Rotunda's consistency test: real gateways, a real Redis Cluster, clients that follow the protocol, and a nemesis that harms all of it.
//!
//! ```text
//! seed → schedule of faults → nemesis: kills, freezes, drains, cuts, fails over, moves slots
//! publishers, subscribers → history: each publish and its outcome, each delivery in order
//! history + what Redis holds at the end → checker → verdict
//! ```
//!
//! | module | job |
//! |---|---|
//! | [`history`] | what happened, as plain data |
//! | [`checker`] | whether that keeps the delivery contract; pure |
//! | [`client`] | publishers and subscribers over each transport |
//! | [`nemesis`] | the faults: which ones (by the seed), and how each is done |
//! | [`gateways`], [`redis`], [`process`] | the processes of a run |
//! | [`arena`] | what the clients share: rooms, clock, counters |
//! | [`run`], [`report`], [`cli`] | a run from its begin to its verdict |

pub mod arena;
pub mod checker;
pub mod cli;
pub mod client;
pub mod gateways;
pub mod history;
pub mod nemesis;
pub mod process;
pub mod redis;
pub mod report;
pub mod run;
