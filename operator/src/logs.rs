//! Logs: JSON lines, or text where a person reads along.

use std::io::{IsTerminal, stdout};

use tracing_subscriber::EnvFilter;

/// Levels without `RUST_LOG`. kube's runtime reports each reconcile in a span of its own at info; ours say it better.
const DEFAULT_FILTER: &str = "info,kube_runtime=warn,kube_client=warn";

/// Sets up logs on standard output: the level from `RUST_LOG`, default info.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stdout);
    if stdout().is_terminal() {
        builder.init();
    } else {
        builder.json().flatten_event(true).init();
    }
}
