//! The HorizontalPodAutoscaler of the gateways.

use k8s_openapi::{
    api::autoscaling::v2::{
        CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
        HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec, MetricIdentifier, MetricSpec,
        MetricTarget, PodsMetricSource, ResourceMetricSource,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use rotunda_crds::realtime_cluster::Autoscaling;

use super::{Component, meta, names};
use crate::cluster::model::Validated;

/// What a gateway's connections are called in the custom metrics API.
const CONNECTIONS: &str = "rotunda_connections";
/// Percent of the CPU request, where nothing else can be aimed at.
const FALLBACK_CPU: i32 = 70;

/// `<name>-gateway`, only with `spec.autoscaling`.
pub(super) fn build(cluster: &Validated) -> Option<HorizontalPodAutoscaler> {
    let autoscaling = cluster.cluster.spec.autoscaling.as_ref()?;
    Some(HorizontalPodAutoscaler {
        metadata: meta::object(cluster, Component::Gateway, names::gateway(&cluster.name)),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".to_owned()),
                kind: "Deployment".to_owned(),
                name: names::gateway(&cluster.name),
            },
            min_replicas: Some(autoscaling.min_replicas()),
            max_replicas: autoscaling.max_replicas(),
            metrics: Some(build_metrics(autoscaling, cluster.connection_metric)),
            behavior: Some(HorizontalPodAutoscalerBehavior {
                // Each pod that goes moves its connections: slowly, and not for a short lull.
                scale_down: Some(HPAScalingRules {
                    stabilization_window_seconds: Some(
                        autoscaling.scale_down.stabilization_seconds(),
                    ),
                    policies: Some(vec![HPAScalingPolicy {
                        type_: "Pods".to_owned(),
                        value: autoscaling.scale_down.pods_per_minute(),
                        period_seconds: 60,
                    }]),
                    select_policy: Some("Max".to_owned()),
                    ..HPAScalingRules::default()
                }),
                ..HorizontalPodAutoscalerBehavior::default()
            }),
        }),
        ..HorizontalPodAutoscaler::default()
    })
}

/// A metric that nobody serves would stop the autoscaler from scaling down at all: connections are aimed at only where the
/// metrics API is served.
fn build_metrics(autoscaling: &Autoscaling, connection_metric: bool) -> Vec<MetricSpec> {
    let connections = autoscaling
        .target_connections()
        .filter(|_| connection_metric);
    let cpu = autoscaling
        .target_cpu_utilization()
        .or(connections.is_none().then_some(FALLBACK_CPU));
    let mut metrics = Vec::new();
    if let Some(average) = connections {
        metrics.push(MetricSpec {
            type_: "Pods".to_owned(),
            pods: Some(PodsMetricSource {
                metric: MetricIdentifier {
                    name: CONNECTIONS.to_owned(),
                    ..MetricIdentifier::default()
                },
                target: MetricTarget {
                    type_: "AverageValue".to_owned(),
                    average_value: Some(Quantity(average.to_string())),
                    ..MetricTarget::default()
                },
            }),
            ..MetricSpec::default()
        });
    }
    if let Some(percent) = cpu {
        metrics.push(MetricSpec {
            type_: "Resource".to_owned(),
            resource: Some(ResourceMetricSource {
                name: "cpu".to_owned(),
                target: MetricTarget {
                    type_: "Utilization".to_owned(),
                    average_utilization: Some(percent),
                    ..MetricTarget::default()
                },
            }),
            ..MetricSpec::default()
        });
    }
    metrics
}
