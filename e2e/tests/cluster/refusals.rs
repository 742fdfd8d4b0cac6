//! What the API server takes and what it refuses, and in which words: every example of `crds/tests`, which the offline
//! checks are held to as well.

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use hyper::Request;
use rotunda_e2e::{
    chat::{self, CLUSTER},
    examples::Example,
    namespace::{Namespace, with_temp_ns},
};
use serde_json::{Value, json};

/// Requests at once.
const CONCURRENCY: usize = 4;

#[tokio::test]
async fn the_api_server_takes_every_good_example() -> Result<()> {
    with_temp_ns("valid", async |namespace| {
        let examples = Example::all("valid")?;
        ensure!(examples.len() > 10, "only {} examples", examples.len());
        stream::iter(examples.into_iter().enumerate())
            .map(async |(index, example)| {
                let (refused, _) = offer(&namespace, index, &example).await?;
                ensure!(
                    refused.is_none(),
                    "{} is refused: {refused:?}",
                    example.name
                );
                Ok(())
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    })
    .await
}

#[tokio::test]
async fn the_api_server_refuses_every_bad_example_in_the_words_it_should() -> Result<()> {
    with_temp_ns("invalid", async |namespace| {
        let examples = Example::all("invalid")?;
        ensure!(examples.len() > 90, "only {} examples", examples.len());
        stream::iter(examples.into_iter().enumerate())
            .map(async |(index, example)| {
                let name = &example.name;
                let (refused, is_last) = offer(&namespace, index, &example).await?;
                let refused = refused.with_context(|| format!("{name} is taken"))?;
                ensure!(is_last, "{name} is refused before the change: {refused}");
                let field = example
                    .field()
                    .with_context(|| format!("{name} names no field"))?;
                ensure!(
                    refused.contains(last_segment(field)),
                    "{name} is about {field}: {refused}"
                );
                if let Some(message) = example.message() {
                    ensure!(
                        refused.contains(message),
                        "{name} should say {message:?}: {refused}"
                    );
                }
                Ok(())
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    })
    .await
}

/// What a user sees of it.
#[tokio::test]
async fn kubectl_shows_why_a_resource_is_refused() -> Result<()> {
    with_temp_ns("refused", async |namespace| {
        let both = chat::room("lobby", &json!({ "pattern": "lobby:*" }));
        let said = namespace.apply_refused(&both.to_string()).await?;
        ensure!(
            said.contains(r#"The Room "lobby" is invalid: spec:"#),
            "{said}"
        );
        ensure!(
            said.contains("write exactly one of name (one room) and pattern"),
            "{said}"
        );

        let typo = chat::room("lobby", &json!({ "histroy": { "maxMessages": 10 } }));
        let said = namespace.apply_refused(&typo.to_string()).await?;
        ensure!(said.contains(r#"unknown field "spec.histroy""#), "{said}");
        Ok(())
    })
    .await
}

/// Offers an example's documents one after the other: the last one as a dry run, those before it for real. Returns what
/// the API server said to the first that it refused, and whether that was the last.
async fn offer(
    namespace: &Namespace,
    index: usize,
    example: &Example,
) -> Result<(Option<String>, bool)> {
    let mut version: Option<(String, String)> = None;
    let last = example.documents.len() - 1;
    for (at, document) in example.documents.iter().enumerate() {
        let mut document = document.clone();
        let name = document["metadata"]["name"]
            .as_str()
            .context("no name")?
            .to_owned();
        let changes = version
            .as_ref()
            .filter(|(before, _)| *before == name)
            .map(|(_, version)| version.clone());
        let is_changed = example
            .documents
            .get(at + 1)
            .is_some_and(|next| next["metadata"]["name"] == name.as_str());
        if is_changed || changes.is_some() {
            document["metadata"]["name"] = format!("{CLUSTER}-{index}").into();
            // Nobody's: this is about the API server alone.
            document["metadata"]["annotations"] =
                json!({ "rotunda.dev/controller-class": "nobody" });
        }
        if let Some(version) = &changes {
            document["metadata"]["resourceVersion"] = version.as_str().into();
        }
        match write(namespace, &document, changes.is_some(), !is_changed).await? {
            Ok(written) => {
                let written = written["metadata"]["resourceVersion"]
                    .as_str()
                    .unwrap_or_default();
                version = Some((name, written.to_owned()));
            }
            Err(said) => return Ok((Some(said), at == last)),
        }
    }
    Ok((None, false))
}

/// Creates or replaces an object as `kubectl` does, unknown fields refused; the outer error is one of the test itself.
async fn write(
    namespace: &Namespace,
    document: &Value,
    exists: bool,
    dry_run: bool,
) -> Result<Result<Value, String>> {
    let plural = match document["kind"].as_str() {
        Some("RealtimeCluster") => "realtimeclusters",
        Some("Room") => "rooms",
        other => bail!("the kind {other:?}"),
    };
    let mut path = format!(
        "/apis/rotunda.dev/v1alpha1/namespaces/{}/{plural}",
        namespace.name()
    );
    if exists {
        path += "/";
        path += document["metadata"]["name"].as_str().context("no name")?;
    }
    path += "?fieldValidation=Strict";
    if dry_run {
        path += "&dryRun=All";
    }
    let request = Request::builder()
        .method(if exists { "PUT" } else { "POST" })
        .uri(path)
        .header("content-type", "application/json")
        .body(document.to_string().into_bytes())?;
    match namespace.cluster().client().request(request).await {
        Ok(written) => Ok(Ok(written)),
        Err(kube::Error::Api(status)) => Ok(Err(status.message.clone())),
        Err(error) => Err(error.into()),
    }
}

/// `spec.auth.jwt.keys[0]` → `keys[0]`: the API server has several ways to write what comes before.
fn last_segment(field: &str) -> &str {
    field.rsplit('.').next().unwrap_or(field)
}
