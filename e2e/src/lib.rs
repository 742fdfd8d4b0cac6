//! A real local Kubernetes, and what end-to-end tests in it are written with.
//!
//! ```text
//! rotunda-local:  cli → local (up, down, images) → install (the chart) → demo (the example and a message)
//! tests:          cluster (API, kubectl) → namespace (one a test, gone afterwards) → chat (a RealtimeCluster in it)
//!                 → operator (its pods, its lease)
//!                 → realtime (a client), follower (clients that stay, and a publisher)
//! ```

pub mod chat;
pub mod cli;
pub mod cluster;
pub mod conditions;
pub mod demo;
pub mod eventually;
pub mod examples;
pub mod follower;
pub mod http;
pub mod install;
pub mod local;
pub mod namespace;
pub mod operator;
mod process;
pub mod realtime;
pub mod target;
pub mod token;
pub mod turns;
