//! Rotunda's gateway: serves clients on one side and the message broker on the other.
//!
//! ```text
//! publish:   ws | HTTP | server API → access + limits → Broker::publish → Redis
//! deliver:   Redis → broker events → room (in order, healed) → hub → each connection's outbox → its writer
//! configure: file rendered by the operator → parsed, validated → swapped in whole; connections stay
//! ```
//!
//! | module | job |
//! |---|---|
//! | [`dialect`] | the client protocol: bytes into commands, events into bytes, close codes |
//! | [`recovery`] | what someone who stood at a position can still get; pure |
//! | [`history`] | which messages a page of history holds; pure |
//! | [`room`], [`presence`] | one room on this gateway: order, holes, who is here; no calls |
//! | [`hub`] | rooms to connections; the calls that joining, healing and replaying take |
//! | [`connection`] | a client: its queue of frames, its socket, its task |
//! | [`actions`] | what can be done, however it was asked: access, limits, broker |
//! | [`access`], [`auth`], [`limits`], [`policy`] | who may do what, who is who, how fast, by which rules |
//! | [`address`], [`handshakes`] | where a client is behind its proxies, and how fast clients may come |
//! | [`http`], [`server`], [`ops`], [`page`] | the ports and their paths |
//! | [`control`] | what the application has all gateways do: disconnect a user, remove one from a room |
//! | [`config`], [`gateway`] | the settings in force; what everything shares |
//! | [`broker`], [`ids`] | the seam to the engines; positions and users |
//! | [`serve`], [`dev`], [`token`], [`client`], [`cli`], [`shutdown`] | the commands, and how a gateway ends |
//! | [`metrics`], [`memory`] | what is counted; how much memory there is |
//! | [`overload`] | who is let in when there are too many, and how fast |

pub mod access;
pub mod actions;
pub mod address;
pub mod auth;
pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
pub mod connection;
pub mod control;
pub mod dev;
pub mod dialect;
pub mod gateway;
pub mod handshakes;
pub mod history;
pub mod http;
pub mod hub;
pub mod ids;
pub mod limits;
pub mod memory;
pub mod metrics;
pub mod ops;
pub mod overload;
pub mod page;
pub mod policy;
pub mod presence;
pub mod recovery;
pub mod room;
pub mod serve;
pub mod server;
pub mod shutdown;
pub mod token;

#[cfg(test)]
mod testing;
