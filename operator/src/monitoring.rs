//! The kinds of the Prometheus operator, as much of them as Rotunda writes. They are there only where somebody installed their definitions:
//! [`until_known`] waits for that.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{Client, CustomResource};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How often to ask whether the definitions have come.
const PERIOD: Duration = Duration::from_mins(1);

/// Which Services to scrape.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "monitoring.coreos.com",
    version = "v1",
    kind = "ServiceMonitor",
    namespaced,
    schema = "disabled"
)]
pub struct ServiceMonitorSpec {
    /// Labels of the Services.
    #[serde(default)]
    pub selector: LabelSelector,
    /// Which of their ports.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

/// What to scrape of a Service.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Name of the port.
    #[serde(default)]
    pub port: String,
    /// Path of the metrics.
    #[serde(default)]
    pub path: String,
}

/// Rules for Prometheus.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "monitoring.coreos.com",
    version = "v1",
    kind = "PrometheusRule",
    namespaced,
    schema = "disabled"
)]
pub struct PrometheusRuleSpec {
    /// As in a file of rules.
    #[serde(default)]
    pub groups: Vec<Value>,
}

/// Whether an error says that the API server doesn't know a kind: its path leads nowhere.
pub fn is_unknown_kind(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Waits until the API server knows a kind of this group.
pub async fn until_known(client: &Client, kind: &str) {
    loop {
        match client
            .list_api_group_resources("monitoring.coreos.com/v1")
            .await
        {
            Ok(list) if list.resources.iter().any(|known| known.kind == kind) => return,
            Ok(_) => {}
            Err(error) if is_unknown_kind(&error) => {}
            Err(error) => {
                tracing::debug!(%error, kind, "can't ask whether the API server knows a kind");
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}
