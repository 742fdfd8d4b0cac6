//! Rotunda's gateway: serves clients on one side and the message broker on the other.
//!
//! ```text
//! publish:   ws | HTTP | server API → access + limits → Broker::publish → Redis
//! deliver:   Redis → broker events → room (in order, healed) → hub → each connection's outbox → its writer
//! configure: file rendered by the operator → parsed, validated → swapped in whole; connections stay
//! ```

pub mod broker;
pub mod ids;
