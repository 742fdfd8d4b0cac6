#![allow(
    clippy::needless_pass_by_value,
    reason = "literal JSON reads better without a borrow"
)]

use kube::runtime::{reflector::store::Writer, watcher::Event};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::test_api::{Asked, Bench};

const PATH: &str = "/apis/rotunda.dev/v1alpha1/namespaces/demo/realtimeclusters/chat";
const JWT: &str = "/api/v1/namespaces/demo/secrets/chat-jwt";
const UID: &str = "uid-of-chat";

fn cluster_json() -> Value {
    json!({
        "apiVersion": "rotunda.dev/v1alpha1", "kind": "RealtimeCluster",
        "metadata": { "name": "chat", "namespace": "demo", "uid": UID, "generation": 1 },
        "spec": {
            "gateway": { "replicas": 2 },
            // Nothing of the test's business is a Redis.
            "redis": { "external": { "urlSecretRef": { "name": "my-redis", "key": "url" } } },
            "auth": { "jwt": { "keys": [{ "id": "main", "secretRef": { "name": "chat-jwt", "key": "secret" } }] } },
        },
    })
}

fn parse<K: DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).expect("an object of that kind")
}

fn secret(entry: &str) -> Value {
    // "c2VjcmV0" is "secret", which nothing connects with.
    json!({ "apiVersion": "v1", "kind": "Secret", "data": { entry: "c2VjcmV0" } })
}

/// A bench with a cluster whose Secrets exist. Its Redis is a port where nobody listens.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.api.put(PATH, cluster_json());
    bench.api.put(JWT, secret("secret"));
    // redis://127.0.0.1:1
    let url = json!({ "apiVersion": "v1", "kind": "Secret", "data": { "url": "cmVkaXM6Ly8xMjcuMC4wLjE6MQ==" } });
    bench
        .api
        .put("/api/v1/namespaces/demo/secrets/my-redis", url);
    bench
}

async fn reconcile_once(bench: &Bench) -> Result<Action, Error> {
    let cluster: RealtimeCluster = parse(bench.api.get(PATH).expect("the cluster"));
    reconcile(Arc::new(cluster), bench.ctx.clone()).await
}

fn condition(bench: &Bench, type_: &str) -> Value {
    let cluster = bench.api.get(PATH).expect("the cluster");
    let conditions = cluster["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    conditions
        .into_iter()
        .find(|condition| condition["type"] == type_)
        .unwrap_or(Value::Null)
}

fn writes(asked: &[Asked]) -> Vec<&Asked> {
    asked
        .iter()
        .filter(|asked| !asked.what.starts_with("GET"))
        .collect()
}

fn store<K>(writer: &mut Writer<K>, object: Value)
where
    K: kube::runtime::reflector::Lookup<DynamicType = ()> + Clone + DeserializeOwned + 'static,
{
    writer.apply_watcher_event(&Event::Apply(parse(object)));
}

#[tokio::test]
async fn missing_secret_becomes_a_condition_and_an_event_and_nothing_is_built() {
    let bench = bench();
    bench.api.refuse(&format!("GET {JWT}"), 404);
    let action = reconcile_once(&bench)
        .await
        .expect("no failure: the user must act");
    assert_eq!(action, Action::requeue(CALM));
    let stalled = condition(&bench, "Stalled");
    assert_eq!(
        (&stalled["status"], &stalled["reason"]),
        (&json!("True"), &json!("SecretNotFound"))
    );
    assert!(
        stalled["message"]
            .as_str()
            .is_some_and(|text| text.contains("kubectl create secret generic chat-jwt"))
    );
    let ready = condition(&bench, "Ready");
    assert_eq!(
        (&ready["status"], &ready["reason"]),
        (&json!("False"), &json!("SecretNotFound"))
    );
    assert_eq!(ready["observedGeneration"], 1);
    let asked = bench.api.take_asked();
    let written: Vec<&str> = writes(&asked)
        .iter()
        .map(|asked| asked.what.as_str())
        .collect();
    assert_eq!(
        written,
        [
            &format!("PATCH {PATH}/status"),
            "POST /apis/events.k8s.io/v1/namespaces/demo/events"
        ]
    );
}

#[tokio::test]
async fn everything_is_applied_by_the_operators_field_manager() {
    let bench = bench();
    reconcile_once(&bench).await.expect("reconciled");
    let asked = bench.api.take_asked();
    let applied: Vec<&Asked> = writes(&asked)
        .into_iter()
        .filter(|asked| {
            asked.what.contains("namespaces/demo/")
                && !asked.what.contains("rotunda.dev")
                && !asked.what.ends_with("/events")
        })
        .collect();
    for asked in &applied {
        assert!(asked.what.starts_with("PATCH"), "{}", asked.what);
        assert!(
            asked.query.contains("force=true"),
            "{}: {}",
            asked.what,
            asked.query
        );
    }
    for name in [
        "serviceaccounts/chat-gateway",
        "configmaps/chat-gateway",
        "secrets/chat-gateway",
        "services/chat",
        "services/chat-api",
        "services/chat-pods",
        "deployments/chat-gateway",
        "poddisruptionbudgets/chat-gateway",
        "networkpolicies/chat-gateway",
    ] {
        assert!(
            applied.iter().any(|asked| asked.what.ends_with(name)),
            "{name} was not applied"
        );
    }
}

#[tokio::test]
async fn replicas_have_a_field_manager_of_their_own() {
    let bench = bench();
    let deployment = "PATCH /apis/apps/v1/namespaces/demo/deployments/chat-gateway";
    let writes_of = |asked: Vec<Asked>| -> Vec<(String, Value)> {
        let of_deployment = asked.into_iter().filter(|asked| asked.what == deployment);
        let manager = |query: &str| {
            query
                .split("fieldManager=")
                .nth(1)
                .unwrap_or_default()
                .to_owned()
        };
        of_deployment
            .map(|asked| {
                (
                    manager(&asked.query),
                    asked.body["spec"]["replicas"].clone(),
                )
            })
            .collect()
    };
    reconcile_once(&bench).await.expect("reconciled");
    let created = writes_of(bench.api.take_asked());
    let main = || "rotunda-operator".to_owned();
    let own = || "rotunda-replicas".to_owned();
    assert_eq!(
        created,
        [(main(), json!(2)), (own(), json!(2)), (main(), Value::Null)]
    );
    reconcile_once(&bench).await.expect("reconciled");
    assert_eq!(
        writes_of(bench.api.take_asked()),
        [(own(), json!(2)), (main(), Value::Null)]
    );
}

#[tokio::test]
async fn status_that_is_as_it_was_is_not_written_again() {
    let bench = bench();
    reconcile_once(&bench).await.expect("reconciled");
    // Conditions settle once their transitions are told.
    reconcile_once(&bench).await.expect("reconciled");
    bench.api.take_asked();
    let before = bench.api.get(PATH);
    reconcile_once(&bench).await.expect("reconciled");
    let asked = bench.api.take_asked();
    let status_writes = asked
        .iter()
        .filter(|asked| asked.what.ends_with("/status") || asked.what.ends_with("/events"));
    assert_eq!(status_writes.count(), 0);
    assert_eq!(bench.api.get(PATH), before);
}

#[tokio::test]
async fn pruning_takes_only_what_this_very_cluster_owns() {
    let mut bench = bench();
    let policy = |name: &str, owner: &str| {
        json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {
                "name": name, "namespace": "demo", "uid": format!("uid-of-{name}"),
                "labels": { "rotunda.dev/cluster": "chat" },
                "ownerReferences": [{ "apiVersion": "rotunda.dev/v1alpha1", "kind": "RealtimeCluster", "name": "chat",
                    "uid": owner, "controller": true }],
            },
        })
    };
    let path =
        |name: &str| format!("/apis/networking.k8s.io/v1/namespaces/demo/networkpolicies/{name}");
    for (name, owner) in [
        ("chat-redis", UID),
        ("of-an-earlier-chat", "another"),
        ("chat-gateway", UID),
    ] {
        bench.api.put(&path(name), json!({}));
        store(&mut bench.writers.network_policies, policy(name, owner));
    }
    reconcile_once(&bench).await.expect("reconciled");
    let asked = bench.api.take_asked();
    let deleted: Vec<_> = asked
        .iter()
        .filter(|asked| asked.what.starts_with("DELETE"))
        .collect();
    assert_eq!(deleted.len(), 1, "{deleted:?}");
    assert_eq!(deleted[0].what, format!("DELETE {}", path("chat-redis")));
    assert_eq!(deleted[0].body["preconditions"]["uid"], "uid-of-chat-redis");
}

#[tokio::test]
async fn one_object_that_is_refused_does_not_hold_up_the_others() {
    let bench = bench();
    bench
        .api
        .refuse("PATCH /api/v1/namespaces/demo/services/chat-api", 422);
    let error = reconcile_once(&bench)
        .await
        .expect_err("a failure, to be tried again");
    assert_eq!(error.reason(), "ApplyFailed");
    assert!(
        bench
            .api
            .get("/apis/apps/v1/namespaces/demo/deployments/chat-gateway")
            .is_some()
    );
    let reconciling = condition(&bench, "Reconciling");
    assert_eq!(
        (&reconciling["status"], &reconciling["reason"]),
        (&json!("True"), &json!("ApplyFailed"))
    );
    assert!(
        reconciling["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("Could not apply Service chat-api"))
    );
}

#[tokio::test]
async fn password_of_redis_is_created_once_and_never_written_again() {
    let bench = bench();
    let mut cluster = cluster_json();
    cluster["spec"]["redis"] = Value::Null;
    bench.api.put(PATH, cluster);
    let path = "/api/v1/namespaces/demo/secrets/chat-redis";
    reconcile_once(&bench).await.expect("reconciled");
    let created = bench.api.get(path).expect("created");
    assert!(
        bench
            .api
            .get("/apis/apps/v1/namespaces/demo/deployments/chat-gateway")
            .is_none(),
        "first the password"
    );
    reconcile_once(&bench).await.expect("reconciled");
    assert_eq!(bench.api.get(path), Some(created));
    assert!(
        bench
            .api
            .get("/apis/apps/v1/namespaces/demo/deployments/chat-gateway")
            .is_some()
    );
    assert!(
        bench
            .api
            .get("/apis/apps/v1/namespaces/demo/statefulsets/chat-redis-0")
            .is_some()
    );
}

#[tokio::test]
async fn paused_cluster_is_left_alone_and_says_so() {
    let bench = bench();
    let mut cluster = cluster_json();
    cluster["metadata"]["annotations"] = json!({ "rotunda.dev/paused": "true" });
    bench.api.put(PATH, cluster);
    reconcile_once(&bench).await.expect("reconciled");
    let reconciling = condition(&bench, "Reconciling");
    assert_eq!(
        (&reconciling["status"], &reconciling["reason"]),
        (&json!("False"), &json!("Paused"))
    );
    let asked = bench.api.take_asked();
    let written: Vec<&str> = writes(&asked)
        .iter()
        .map(|asked| asked.what.as_str())
        .collect();
    assert_eq!(written, [format!("PATCH {PATH}/status")]);
}

#[tokio::test]
async fn cluster_of_another_class_or_on_its_way_out_is_not_touched() {
    let bench = bench();
    for metadata in [
        json!({ "annotations": { "rotunda.dev/controller-class": "other" } }),
        json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" }),
    ] {
        let mut cluster = cluster_json();
        for (field, value) in metadata.as_object().expect("an object") {
            cluster["metadata"][field] = value.clone();
        }
        bench.api.put(PATH, cluster);
        reconcile_once(&bench).await.expect("reconciled");
        assert!(bench.api.take_asked().is_empty(), "{metadata}");
    }
}

fn monitored(bench: &Bench) {
    let mut cluster = cluster_json();
    cluster["spec"]["monitoring"] = json!({ "serviceMonitor": true, "prometheusRule": true });
    bench.api.put(PATH, cluster);
}

const MONITORING: &str = "PATCH /apis/monitoring.coreos.com/v1/namespaces/demo/";

#[tokio::test]
async fn monitors_and_alerts_are_made_where_asked() {
    let bench = bench();
    monitored(&bench);
    reconcile_once(&bench).await.expect("reconciled");
    let asked = bench.api.take_asked();
    let body = |kind: &str| {
        let what = format!("{MONITORING}{kind}/chat-gateway");
        let found = asked.iter().find(|asked| asked.what == what);
        found.expect("applied").body.clone()
    };
    assert_eq!(
        body("servicemonitors")["spec"]["endpoints"],
        json!([{ "port": "ops", "path": "/metrics" }])
    );
    let rule = body("prometheusrules");
    assert_eq!(rule["metadata"]["ownerReferences"][0]["uid"], UID);
    let rules = rule["spec"]["groups"][0]["rules"].to_string();
    assert!(
        rules.contains(r#"{namespace=\"demo\",service=\"chat-pods\"}"#),
        "{rules}"
    );
    assert!(!rules.contains("=\\\"chat\\\""), "{rules}");
}

#[tokio::test]
async fn what_the_api_server_does_not_know_is_left_out_and_said() {
    let bench = bench();
    bench.api.refuse(MONITORING, 404);
    let validated = validate::fixture(include_str!("build/fixtures/everything.yaml"));
    let (applied, left_out) = apply::apply(&bench.ctx, &validated, build::build(&validated))
        .boxed()
        .await
        .expect("all else is applied");
    assert!(applied.service_monitor.is_none() && applied.prometheus_rule.is_none());
    assert_eq!(left_out.len(), 2);
    for (sentence, kind) in left_out.iter().zip(["ServiceMonitor", "PrometheusRule"]) {
        assert!(sentence.contains(kind), "{sentence}");
    }
}

#[tokio::test]
async fn a_monitor_that_is_no_longer_wanted_is_pruned() {
    let mut bench = bench();
    let path = "/apis/monitoring.coreos.com/v1/namespaces/demo/servicemonitors/chat-gateway";
    let monitor = json!({
        "apiVersion": "monitoring.coreos.com/v1", "kind": "ServiceMonitor",
        "metadata": {
            "name": "chat-gateway", "namespace": "demo", "labels": { "rotunda.dev/cluster": "chat" },
            "ownerReferences": [{ "apiVersion": "rotunda.dev/v1alpha1", "kind": "RealtimeCluster", "name": "chat", "uid": UID, "controller": true }],
        },
        "spec": {},
    });
    bench.api.put(path, monitor);
    let stored = bench.api.get(path).expect("put");
    store(&mut bench.writers.service_monitors, stored);
    reconcile_once(&bench).await.expect("reconciled");
    assert_eq!(bench.api.get(path), None);
}
