//! What the Prometheus operator reads: a ServiceMonitor for the gateways, and a PrometheusRule with alerts about them.

use kube::Resource;
use serde::Deserialize;
use serde_json::Value;

use super::{Component, meta, names};
use crate::{
    cluster::model::Validated,
    monitoring::{
        Endpoint, PrometheusRule, PrometheusRuleSpec, ServiceMonitor, ServiceMonitorSpec,
    },
};

/// The alerts, written for the cluster `chat` in the namespace `chat`.
const ALERTS: &str = include_str!("monitoring/alerts.yaml");

/// `<name>-gateway`, only with `spec.monitoring.serviceMonitor`.
pub(super) fn build_service_monitor(cluster: &Validated) -> Option<ServiceMonitor> {
    if !cluster.cluster.spec.monitoring.service_monitor() {
        return None;
    }
    let name = names::gateway(&cluster.name);
    let mut monitor = ServiceMonitor::new(
        &name,
        ServiceMonitorSpec {
            // Of the Services in front of them only the headless one has the port.
            selector: meta::pods_of(cluster, Component::Gateway),
            endpoints: vec![Endpoint {
                port: "ops".to_owned(),
                path: "/metrics".to_owned(),
            }],
        },
    );
    *monitor.meta_mut() = meta::object(cluster, Component::Gateway, name);
    Some(monitor)
}

/// `<name>-gateway`, only with `spec.monitoring.prometheusRule`.
pub(super) fn build_rule(cluster: &Validated) -> Option<PrometheusRule> {
    if !cluster.cluster.spec.monitoring.prometheus_rule() {
        return None;
    }
    let name = names::gateway(&cluster.name);
    let mut rule = PrometheusRule::new(
        &name,
        PrometheusRuleSpec {
            groups: alerts_of(cluster),
        },
    );
    *rule.meta_mut() = meta::object(cluster, Component::Gateway, name);
    Some(rule)
}

fn alerts_of(cluster: &Validated) -> Vec<Value> {
    #[derive(Deserialize)]
    struct File {
        groups: Vec<Value>,
    }
    let (name, namespace) = (&cluster.name, &cluster.namespace);
    let most = cluster.cluster.spec.gateway.max_connections();
    let text = ALERTS
        .replace(
            r#"namespace="chat",service="chat-pods""#,
            &format!(r#"namespace="{namespace}",service="{}""#, names::pods(name)),
        )
        .replace("* 50000", &format!("* {most}"))
        .replace("cluster chat answers", &format!("cluster {name} answers"))
        .replace(
            "realtimecluster chat --namespace chat",
            &format!("realtimecluster {name} --namespace {namespace}"),
        );
    let file: File = serde_yaml::from_str(&text).expect("the alerts are YAML, as a test shows");
    file.groups
}
