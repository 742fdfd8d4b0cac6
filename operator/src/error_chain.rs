//! An error with its causes as one line.

use std::error::Error;

/// The error's message and those of its causes, each once: libraries often repeat a cause in their own message.
pub fn describe(error: &(dyn Error + 'static)) -> String {
    let mut text = message(error);
    let mut last = error;
    // An answer of the API server has a cause that says the same in other words.
    while let Some(cause) = last.source().filter(|_| !is_answer(last)) {
        let message = message(cause);
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        last = cause;
    }
    text
}

fn is_answer(error: &(dyn Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(kube::Error::Api(_)))
}

/// What an error says. Of an answer of the API server only its own sentence: the rest is of no use to people.
fn message(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref() {
        Some(kube::Error::Api(status)) if !status.message.is_empty() => status.message.clone(),
        _ => error.to_string(),
    }
}

/// A message as people write it: a capital letter first, a full stop last.
pub fn as_sentence(message: &str) -> String {
    let mut text = message.trim_end().to_owned();
    if let Some(first) = text.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    if !text.ends_with(['.', '!', '?', '…']) {
        text.push('.');
    }
    text
}

/// Whether the API server refused because the namespace is on its way out, or is gone: nothing can be made there any more,
/// and nothing needs to be.
pub fn is_namespace_gone(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let terminating = causes
        .into_iter()
        .any(|cause| cause.reason == "NamespaceTerminating");
    let of_namespace = status
        .details
        .as_ref()
        .is_some_and(|details| details.kind == "namespaces");
    terminating || (status.code == 404 && of_namespace)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("could not read {0}")]
    struct Outer(&'static str, #[source] Inner);

    #[derive(Debug, Error)]
    #[error("connection refused")]
    struct Inner;

    #[test]
    fn a_message_becomes_a_sentence_once() {
        assert_eq!(
            as_sentence("one shard serves all slots"),
            "One shard serves all slots."
        );
        assert_eq!(as_sentence("Done."), "Done.");
        assert_eq!(as_sentence("ändern"), "ändern.");
    }

    #[derive(Debug, Error)]
    #[error("could not apply a")]
    struct Apply(#[source] kube::Error);

    fn refusal(status: serde_json::Value) -> kube::Error {
        kube::Error::Api(Box::new(serde_json::from_value(status).expect("a status")))
    }

    #[test]
    fn of_an_answer_of_the_api_server_only_its_sentence_is_told() {
        let error = Apply(refusal(
            json!({ "message": "a is invalid", "code": 422, "reason": "Invalid" }),
        ));
        assert_eq!(describe(&error), "could not apply a: a is invalid");
    }

    #[test]
    fn a_namespace_on_its_way_out_is_told_from_other_refusals() {
        let leaving =
            json!({ "code": 403, "details": { "causes": [{ "reason": "NamespaceTerminating" }] } });
        let gone = json!({ "code": 404, "details": { "kind": "namespaces" } });
        let missing = json!({ "code": 404, "details": { "kind": "services" } });
        assert!(is_namespace_gone(&refusal(leaving)));
        assert!(is_namespace_gone(&refusal(gone)));
        assert!(!is_namespace_gone(&refusal(missing)));
    }

    #[test]
    fn causes_are_told_once() {
        assert_eq!(
            describe(&Outer("a", Inner)),
            "could not read a: connection refused"
        );
        assert_eq!(
            describe(&Outer("a (connection refused)", Inner)),
            "could not read a (connection refused)"
        );
    }
}
