//! What a user sees of long work: `==> what … (1.2s)`, one line a step.

use std::{fmt::Display, future::Future, io::Write, time::Instant};

use anyhow::{Context, Result};

/// Runs `work` and shows what it is and how long it took.
pub async fn step<T>(what: impl Display, work: impl Future<Output = Result<T>>) -> Result<T> {
    print!("==> {what} … ");
    flush();
    let start = Instant::now();
    let outcome = work.await;
    let seconds = start.elapsed().as_secs_f32();
    if outcome.is_ok() {
        println!("({seconds:.1}s)");
    } else {
        println!("failed after {seconds:.1}s");
    }
    outcome.with_context(|| what.to_string())
}

/// Shows something that took no time worth telling.
pub fn note(what: impl Display) {
    println!("==> {what}");
    flush();
}

fn flush() {
    // A closed standard output is noticed by the next line printed.
    drop(std::io::stdout().flush());
}
