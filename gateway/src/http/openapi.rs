//! `GET /v1/openapi.json`: the description of this API, for tools. It is no secret and takes no key.

use std::sync::LazyLock;

use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;

use super::routes::Routes;

/// The document as it stands in the documentation.
const YAML: &str = include_str!("../../../docs/openapi.yaml");

static JSON: LazyLock<Bytes> = LazyLock::new(|| {
    let document: serde_json::Value =
        serde_yaml::from_str(YAML).expect("a test parses the document");
    Bytes::from(document.to_string())
});

pub(super) fn routes() -> Routes {
    Routes::default().get("/v1/openapi.json", document)
}

async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], JSON.clone())
}
