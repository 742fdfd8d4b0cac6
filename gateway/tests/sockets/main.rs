//! The gateway over real sockets with the memory broker, or with Redis where several work together: what clients, pages and servers meet.

mod arrivals;
mod bad_http;
#[cfg(test)]
mod control;
#[cfg(test)]
mod deletion;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod gateway;
mod handshake;
#[cfg(test)]
mod history;
mod http;
#[cfg(test)]
#[path = "../shared/json_schema.rs"]
mod json_schema;
#[cfg(test)]
mod keys;
mod lifecycle;
#[cfg(test)]
mod listen;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod monitoring;
#[cfg(test)]
mod one_to_one;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod poll;
#[cfg(test)]
mod polled;
#[cfg(test)]
#[path = "../shared/prometheus.rs"]
mod prometheus;
mod proxy_protocol;
#[cfg(test)]
mod raw;
#[cfg(test)]
mod redis;
#[cfg(test)]
mod redis_away;
mod rooms;
#[cfg(test)]
mod server_api;
mod sse;
#[cfg(test)]
mod starting;
#[cfg(test)]
mod stream;
mod stubborn;
mod violations;
