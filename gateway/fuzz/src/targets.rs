//! The targets: each takes any bytes, and panics when something that must hold doesn't.

use anyhow::Context;

mod access;
mod cursor;
mod frames;
mod names;
mod proxy_header;
mod redis;
mod requests;
mod websocket;

/// One thing that parses bytes from outside.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Longer inputs find nothing that shorter ones don't.
    #[cfg_attr(
        not(feature = "libfuzzer"),
        expect(dead_code, reason = "a corpus has its sizes")
    )]
    pub(crate) max_len: usize,
    pub(crate) run: fn(&[u8]),
}

pub(crate) const TARGETS: &[Target] = &[
    target("command", 512, frames::command),
    target("websocket", 512, websocket::socket),
    target("id", 64, names::id),
    target("cursor", 256, cursor::cursor),
    target("room_name", 256, names::room_name),
    target("room_pattern", 256, names::room_pattern),
    target("request", 1024, requests::request),
    target("upgrade_query", 256, requests::upgrade_query),
    target("proxy_header", 256, proxy_header::header),
    target("token", 512, requests::token),
    target("origin", 128, requests::origin),
    target("redis_reply", 256, redis::reply),
    target("redis_message", 256, redis::message),
    target("redis_entry", 256, redis::entry),
    target("redis_url", 128, redis::url),
    target("access_expression", 256, access::expression),
];

const fn target(name: &'static str, max_len: usize, run: fn(&[u8])) -> Target {
    Target { name, max_len, run }
}

impl Target {
    pub(crate) fn named(name: &str) -> anyhow::Result<&'static Self> {
        TARGETS
            .iter()
            .find(|target| target.name == name)
            .with_context(|| format!("there is no target {name:?}"))
    }
}
