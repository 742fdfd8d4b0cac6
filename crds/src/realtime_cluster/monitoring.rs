//! `spec.monitoring`: metrics objects and traces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_with::skip_serializing_none;

use super::non_empty;

/// Metrics objects and traces.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Monitoring {
    /// Whether to make a ServiceMonitor for the Prometheus operator, where the API server knows that kind. Default: false.
    pub service_monitor: Option<bool>,
    /// Whether to make a PrometheusRule with alerts, where the API server knows that kind. Default: false.
    pub prometheus_rule: Option<bool>,
    /// Traces by OpenTelemetry.
    pub tracing: Tracing,
}

/// Traces by OpenTelemetry.
#[skip_serializing_none]
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Tracing {
    /// URL of an OTLP collector, `http://otel-collector.monitoring:4317` for example. Default: none, no traces.
    pub endpoint: Option<String>,
    /// Share of publishes that are traced, from 0 to 1. One that comes with a sampled `traceparent` always is.
    /// Default: 0.01.
    pub sample_ratio: Option<f64>,
}

impl Monitoring {
    /// Whether to make a ServiceMonitor.
    pub fn service_monitor(&self) -> bool {
        self.service_monitor.unwrap_or(false)
    }

    /// Whether to make a PrometheusRule.
    pub fn prometheus_rule(&self) -> bool {
        self.prometheus_rule.unwrap_or(false)
    }
}

impl Tracing {
    /// URL of the collector, where one is written.
    pub fn endpoint(&self) -> Option<&str> {
        non_empty(self.endpoint.as_ref())
    }

    /// Share of publishes that are traced.
    pub fn sample_ratio(&self) -> f64 {
        self.sample_ratio.unwrap_or(0.01)
    }
}
