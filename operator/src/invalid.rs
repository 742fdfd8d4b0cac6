//! Objects of our own kinds that don't parse: reported and left alone, so that one bad object never stops the others. Such
//! an object can only come from a schema of another version than this operator's.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{core::error_boundary::InvalidObject, runtime::events::EventType};

use crate::{context::Context, metrics::Kind, notify};

/// Reason in Events and metrics.
pub const REASON: &str = "Unreadable";

/// Tells people about an object that can't be read.
pub fn report(ctx: &Arc<Context>, kind: Kind, invalid: &InvalidObject) {
    let meta = &invalid.metadata;
    tracing::error!(
        kind = kind.as_str(),
        namespace = meta.namespace.as_deref().unwrap_or_default(),
        name = meta.name.as_deref().unwrap_or_default(),
        error = %invalid.error,
        "object can't be read and is left as it is"
    );
    ctx.metrics.failed(kind, REASON);
    let object = ObjectReference {
        api_version: Some(format!("{}/{}", rotunda_crds::GROUP, rotunda_crds::VERSION)),
        kind: Some(kind.as_str().to_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: None,
        field_path: None,
    };
    let note = format!(
        "this version of the operator can't read the object, and leaves what runs as it is: {}",
        invalid.error
    );
    let ctx = ctx.clone();
    ctx.tasks.clone().spawn(async move {
        notify::publish(&ctx.recorder, &object, EventType::Warning, REASON, note).await;
    });
}
