//! Rotunda's operator: from RealtimeCluster and Room resources to gateways, Redis and their endpoint.
//!
//! ```text
//! API server ─► watches ─► stores            queues ─► controllers ─► cluster::reconcile / room::reconcile
//!                   └─────► which key? ─────────┘           dereference → validate → build → apply → status
//! gateways  ─► /stats ─► reports ───────────────┘
//! ```
//!
//! | module | job |
//! |---|---|
//! | [`cli`], [`logs`], [`run`] | flags, logs, and the life of the process |
//! | [`leader`] | which replica works: a Lease |
//! | [`ops`], [`metrics`] | `/livez`, `/readyz`, `/metrics`, `/stats` |
//! | [`watch`], [`watches`], [`stores`] | what is read from the API server, and which change asks for which reconcile |
//! | [`queue`], [`controllers`], [`backoff`] | what is reconciled when |
//! | [`cluster`] | RealtimeClusters, in five stages |
//! | [`room`] | Rooms |
//! | [`redis`] | the managed Redis of a cluster |
//! | [`monitoring`] | the kinds of the Prometheus operator |
//! | [`gateways`] | what gateways say about themselves, and pushing configs to them |
//! | [`status`], [`notify`] | writing statuses and Events |
//! | [`context`] | what all reconciles share |

pub mod backoff;
pub mod cli;
pub mod cluster;
pub mod context;
pub mod controllers;
pub mod digits;
pub mod echo;
pub mod error_chain;
pub mod gateways;
pub mod invalid;
pub mod key;
pub mod leader;
pub mod logs;
pub mod metrics;
pub mod monitoring;
pub mod notify;
pub mod ops;
pub mod queue;
pub mod redis;
pub mod room;
pub mod run;
pub mod status;
pub mod stores;
#[cfg(test)]
mod test_api;
pub mod watch;
pub mod watches;
