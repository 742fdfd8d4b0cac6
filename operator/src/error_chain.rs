//! An error with its causes as one line.

use std::error::Error;

/// The error's message and those of its causes, each once: libraries often repeat a cause in their own message.
pub fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("could not read {0}")]
    struct Outer(&'static str, #[source] Inner);

    #[derive(Debug, Error)]
    #[error("connection refused")]
    struct Inner;

    #[test]
    fn causes_are_told_once() {
        assert_eq!(describe(&Outer("a", Inner)), "could not read a: connection refused");
        assert_eq!(describe(&Outer("a (connection refused)", Inner)), "could not read a (connection refused)");
    }
}
