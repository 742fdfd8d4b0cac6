//! Whole-object snapshots from YAML fixtures, and what must hold for all of them.

mod fixture;
mod network;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use serde_json::Value;

use super::*;
use fixture::{Fixture, documents, fixture};

fn all() -> Vec<(&'static str, Validated)> {
    Fixture::ALL
        .map(|fixture_| (fixture_.name, fixture(&fixture_)))
        .into()
}

fn templates(resources: &Resources<Prepared>) -> Vec<PodTemplateSpec> {
    let gateway = resources
        .deployment
        .spec
        .iter()
        .map(|spec| spec.template.clone());
    let sets = resources
        .redis
        .iter()
        .flat_map(|redis| &redis.stateful_sets);
    gateway
        .chain(sets.filter_map(|set| Some(set.spec.as_ref()?.template.clone())))
        .collect()
}

fn pod(template: &PodTemplateSpec) -> &PodSpec {
    template.spec.as_ref().expect("every template has a pod")
}

#[test]
fn objects_are_as_written_down() {
    for (name, validated) in all() {
        insta::assert_snapshot!(name, fixture::as_yaml(&build(&validated)));
    }
}

#[test]
fn the_same_cluster_gives_the_same_bytes() {
    for (name, validated) in all() {
        assert_eq!(
            fixture::as_yaml(&build(&validated)),
            fixture::as_yaml(&build(&validated)),
            "{name}"
        );
    }
}

#[test]
fn every_object_has_name_namespace_labels_and_owner() {
    for (name, validated) in all() {
        for object in documents(&build(&validated)) {
            let metadata = &object["metadata"];
            assert_eq!(metadata["namespace"], "demo", "{name}: {object}");
            assert!(
                metadata["name"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("chat")),
                "{name}: {object}"
            );
            assert_eq!(
                metadata["ownerReferences"][0]["uid"], "5c1b3c1e-0000-4000-8000-000000000001",
                "{name}"
            );
            assert_eq!(metadata["labels"]["rotunda.dev/cluster"], "chat", "{name}");
            assert_eq!(
                metadata["labels"]["app.kubernetes.io/managed-by"], "rotunda-operator",
                "{name}"
            );
        }
    }
}

#[test]
fn no_two_objects_of_a_kind_share_a_name() {
    for (name, validated) in all() {
        let objects = documents(&build(&validated));
        let keys: BTreeSet<String> = objects
            .iter()
            .map(|object| format!("{}/{}", object["kind"], object["metadata"]["name"]))
            .collect();
        assert_eq!(keys.len(), objects.len(), "{name}");
    }
}

#[test]
fn every_selector_is_a_part_of_the_labels_it_selects() {
    for (name, validated) in all() {
        let objects = documents(&build(&validated));
        let pods: Vec<&Value> = objects
            .iter()
            .map(|object| &object["spec"]["template"]["metadata"]["labels"])
            .collect();
        for object in &objects {
            let spec = &object["spec"];
            let selector = [
                &spec["selector"]["matchLabels"],
                &spec["podSelector"]["matchLabels"],
                &spec["selector"],
            ]
            .into_iter()
            .find(|labels| labels.is_object());
            let Some(Value::Object(selector)) = selector else {
                continue;
            };
            let own = &spec["template"]["metadata"]["labels"];
            let matches =
                |labels: &Value| selector.iter().all(|(key, value)| labels[key] == *value);
            if own.is_object() {
                assert!(
                    matches(own),
                    "{name}: {} {}",
                    object["kind"],
                    object["metadata"]["name"]
                );
            } else {
                assert!(
                    pods.iter().any(|labels| matches(labels)),
                    "{name}: {}",
                    object["metadata"]["name"]
                );
            }
        }
    }
}

#[test]
fn a_users_labels_never_replace_the_operators() {
    let template = &templates(&build(&fixture(&Fixture::CUSTOM_PODS)))[0];
    let labels = template
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.labels.clone())
        .expect("it has labels");
    assert_eq!(labels["app.kubernetes.io/name"], "rotunda");
    assert_eq!(labels["team"], "realtime");
}

#[test]
fn pods_fulfil_the_restricted_security_standard() {
    for (name, validated) in all() {
        for template in templates(&build(&validated)) {
            let pod = pod(&template);
            let context = pod
                .security_context
                .as_ref()
                .expect("a pod has a security context");
            assert_eq!(context.run_as_non_root, Some(true), "{name}");
            assert_eq!(
                context
                    .seccomp_profile
                    .as_ref()
                    .map(|profile| profile.type_.as_str()),
                Some("RuntimeDefault")
            );
            assert_eq!(pod.automount_service_account_token, Some(false), "{name}");
            for container in &pod.containers {
                let context = container
                    .security_context
                    .as_ref()
                    .expect("a container has a security context");
                assert_eq!(context.allow_privilege_escalation, Some(false), "{name}");
                assert_eq!(context.read_only_root_filesystem, Some(true), "{name}");
                let dropped = context
                    .capabilities
                    .as_ref()
                    .and_then(|capabilities| capabilities.drop.clone());
                assert_eq!(dropped, Some(vec!["ALL".to_owned()]), "{name}");
            }
        }
    }
}

#[test]
fn every_container_requests_cpu() {
    for (name, validated) in all() {
        for template in templates(&build(&validated)) {
            let resources = pod(&template).containers[0]
                .resources
                .clone()
                .expect("a container has resources");
            assert!(
                resources
                    .requests
                    .is_some_and(|requests| requests.contains_key("cpu")),
                "{name}"
            );
        }
    }
}

#[test]
fn the_number_of_gateways_is_left_to_its_own_manager() {
    for (name, validated) in all() {
        let deployment = build(&validated).deployment;
        assert_eq!(
            deployment.spec.and_then(|spec| spec.replicas),
            None,
            "{name}"
        );
    }
}

#[test]
fn a_new_operator_version_changes_no_template_where_the_images_are_written() {
    let old = fixture(&Fixture::EVERYTHING);
    let mut new = old.clone();
    new.config.revision = "made by the next version".to_owned();
    new.config.gzip = b"made by the next version".to_vec();
    assert_eq!(templates(&build(&old)), templates(&build(&new)));
}

#[test]
fn an_image_left_to_the_operator_is_all_that_its_upgrade_changes() {
    let old = fixture(&Fixture::MINIMAL);
    let mut new = old.clone();
    new.images.gateway = "gateway:next".to_owned();
    new.images.redis = "redis:next".to_owned();
    let without_images = |validated: &Validated| {
        let mut templates = templates(&build(validated));
        for template in &mut templates {
            for container in template
                .spec
                .iter_mut()
                .flat_map(|spec| &mut spec.containers)
            {
                container.image = None;
            }
        }
        templates
    };
    assert_ne!(templates(&build(&old)), templates(&build(&new)));
    assert_eq!(without_images(&old), without_images(&new));
}

#[test]
fn config_and_secrets_change_without_touching_the_pods() {
    let old = fixture(&Fixture::EVERYTHING);
    let mut new = old.clone();
    new.secret_files
        .0
        .insert("jwt.second".to_owned(), b"another".to_vec());
    new.config.revision.push('2');
    let (old, new) = (build(&old), build(&new));
    assert_eq!(old.deployment, new.deployment);
    assert_ne!(old.gateway_secret, new.gateway_secret);
}

#[test]
fn the_password_is_in_secrets_alone() {
    for (name, validated) in all() {
        let RedisTarget::Managed(managed) = &validated.redis else {
            continue;
        };
        for object in documents(&build(&validated))
            .iter()
            .filter(|object| object["kind"] != "Secret")
        {
            assert!(
                !object.to_string().contains(&managed.password.0),
                "{name}: {}",
                object["kind"]
            );
        }
    }
}

#[test]
fn the_password_is_written_only_while_it_is_new() {
    let mut validated = fixture(&Fixture::MINIMAL);
    let secret = |validated: &Validated| {
        build(validated)
            .redis
            .and_then(|redis| redis.password_secret)
    };
    assert!(secret(&validated).is_some());
    let RedisTarget::Managed(managed) = &mut validated.redis else {
        panic!("it is managed")
    };
    managed.password_is_new = false;
    assert_eq!(secret(&validated), None);
}

#[test]
fn shards_that_still_exist_are_kept_while_scaling_in() {
    let mut validated = fixture(&Fixture::MINIMAL);
    let RedisTarget::Managed(managed) = &mut validated.redis else {
        panic!("it is managed")
    };
    managed.existing_shards = vec![0, 1, 3];
    let redis = build(&validated).redis.expect("it is managed");
    let names: Vec<_> = redis
        .stateful_sets
        .iter()
        .filter_map(|set| set.metadata.name.as_deref())
        .collect();
    assert_eq!(names, ["chat-redis-0", "chat-redis-1", "chat-redis-3"]);
}

#[test]
fn redis_pods_may_leave_one_at_a_time_and_only_while_replicas_are_in_sync() {
    let allowed = |fixture_: &Fixture, in_sync: bool| {
        let mut validated = fixture(fixture_);
        let RedisTarget::Managed(managed) = &mut validated.redis else {
            panic!("it is managed")
        };
        managed.replicas_in_sync = in_sync;
        let budget = build(&validated)
            .redis
            .and_then(|redis| redis.disruption_budget.spec);
        serde_json::to_value(budget.and_then(|budget| budget.max_unavailable))
            .expect("it is a number")
    };
    assert_eq!(allowed(&Fixture::EVERYTHING, true), 1);
    assert_eq!(allowed(&Fixture::EVERYTHING, false), 0);
    assert_eq!(
        allowed(&Fixture::MINIMAL, false),
        1,
        "without replicas no moment is better than another"
    );
}

#[test]
fn connections_are_aimed_at_only_where_the_metric_is_served() {
    let types = |connection_metric: bool| {
        let mut validated = fixture(&Fixture::AUTOSCALING);
        validated.connection_metric = connection_metric;
        let spec = build(&validated)
            .autoscaler
            .and_then(|autoscaler| autoscaler.spec)
            .expect("it scales");
        spec.metrics
            .into_iter()
            .flatten()
            .map(|metric| metric.type_)
            .collect::<Vec<_>>()
    };
    assert_eq!(types(true), ["Pods", "Resource"]);
    assert_eq!(types(false), ["Resource"]);
}

#[test]
fn without_a_known_operator_no_rule_opens_a_port_to_everyone() {
    let mut validated = fixture(&Fixture::MINIMAL);
    validated.operator_namespace = None;
    let policy = build(&validated)
        .network_policy
        .and_then(|policy| policy.spec)
        .expect("policies are on");
    let open: Vec<Value> = policy
        .ingress
        .into_iter()
        .flatten()
        .filter(|rule| rule.from.as_ref().is_none_or(Vec::is_empty))
        .map(|rule| serde_json::to_value(rule.ports).expect("ports are data"))
        .collect();
    assert_eq!(
        open,
        [serde_json::json!([{ "port": 8080, "protocol": "TCP" }])]
    );
}

#[test]
fn default_resources_never_contradict_what_is_written() {
    use k8s_openapi::{
        api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource::Quantity,
    };
    let amount = |text: &str| Quantity(text.to_owned());
    let written = ResourceRequirements {
        requests: Some(BTreeMap::from([("memory".to_owned(), amount("8Gi"))])),
        limits: Some(BTreeMap::from([("cpu".to_owned(), amount("2"))])),
        ..ResourceRequirements::default()
    };
    let defaults = pod::DefaultResources {
        cpu_request: "250m",
        memory_request: "256Mi",
        memory_limit: "1Gi",
    };
    assert_eq!(
        pod::resources(&written, defaults),
        written,
        "a limit of CPU is its request too"
    );
}
