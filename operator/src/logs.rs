//! Logs: JSON lines, or text where a person reads along.

use std::io::{IsTerminal, stdout};

use tracing_subscriber::EnvFilter;

/// kube's runtime reports each reconcile in a span of its own at info; ours say it better.
const QUIET: &str = "kube_runtime=warn,kube_client=warn";

/// Sets up logs on standard output: the level from `RUST_LOG`, default info. A bare level is meant for the operator itself;
/// anything finer is taken as written.
pub fn init() {
    let wanted = std::env::var("RUST_LOG")
        .ok()
        .filter(|wanted| !wanted.is_empty());
    let wanted = wanted.unwrap_or_else(|| "info".to_owned());
    let is_level = !wanted.contains(['=', ',']);
    let filter = EnvFilter::new(if is_level {
        format!("{wanted},{QUIET}")
    } else {
        wanted
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stdout);
    if stdout().is_terminal() {
        builder.init();
    } else {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .init();
    }
}
