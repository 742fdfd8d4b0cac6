#![allow(
    clippy::needless_pass_by_value,
    reason = "literal JSON reads better without a borrow"
)]

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::gateways::{PodReport, Stats};

fn parse<K: serde::de::DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).expect("an object of that kind")
}

fn cluster(spec: Value) -> RealtimeCluster {
    let mut whole = json!({ "auth": { "anonymous": true } });
    for (field, value) in spec.as_object().cloned().unwrap_or_default() {
        whole[field] = value;
    }
    parse(json!({
        "apiVersion": "rotunda.dev/v1alpha1", "kind": "RealtimeCluster",
        "metadata": { "name": "chat", "namespace": "demo", "uid": "u", "generation": 3 }, "spec": whole,
    }))
}

fn deployment(desired: i32, replicas: i32, updated: i32, ready: i32) -> Deployment {
    parse(json!({
        "metadata": { "generation": 1 },
        "spec": { "replicas": desired, "selector": {}, "template": {} },
        "status": { "observedGeneration": 1, "replicas": replicas, "updatedReplicas": updated, "readyReplicas": ready },
    }))
}

fn service(status: Value) -> Service {
    parse(
        json!({ "spec": { "ports": [{ "name": "client", "port": 80, "nodePort": 31234 }] }, "status": status }),
    )
}

fn with_address() -> Service {
    service(json!({ "loadBalancer": { "ingress": [{ "ip": "10.9.0.1" }] } }))
}

fn pod(status: Value) -> Arc<Pod> {
    Arc::new(parse(json!({
        "metadata": { "name": "chat-gateway-1", "namespace": "demo", "uid": "p-1", "labels": {
            "app.kubernetes.io/instance": "chat", "app.kubernetes.io/component": "gateway" } },
        "status": status,
    })))
}

fn redis_ready() -> RedisStatus {
    RedisStatus {
        shards: 1,
        ready_shards: 1,
        ready: Verdict::Yes(problem(reason::READY, "All slots are served.")),
        degraded: None,
        replicas_in_sync: true,
        look_again: None,
        events: Vec::new(),
    }
}

/// What a test varies.
struct Scene {
    cluster: RealtimeCluster,
    deployment: Option<Deployment>,
    service: Option<Service>,
    pods: Vec<Arc<Pod>>,
    redis: Option<RedisStatus>,
    report: Report,
}

impl Scene {
    /// All is well.
    fn new() -> Self {
        Self {
            cluster: cluster(json!({})),
            deployment: Some(deployment(3, 3, 3, 3)),
            service: Some(with_address()),
            pods: Vec::new(),
            redis: Some(redis_ready()),
            report: Report::default(),
        }
    }

    fn status_after(&self, outcome: Outcome<'_>) -> RealtimeClusterStatus {
        compute_status(&Observed {
            cluster: &self.cluster,
            outcome,
            deployment: self.deployment.as_ref(),
            service: self.service.as_ref(),
            pods: &self.pods,
            redis_pods: &[],
            report: &self.report,
            redis: self.redis.as_ref(),
            now: Time(Timestamp::UNIX_EPOCH),
        })
    }

    fn status(&self) -> RealtimeClusterStatus {
        self.status_after(Outcome::Applied(&[]))
    }

    /// One line a condition: type, status, reason, message.
    fn conditions(&self) -> String {
        lines(&self.status())
    }
}

fn lines(status: &RealtimeClusterStatus) -> String {
    let line = |condition: &Condition| {
        format!(
            "{} {} {}: {}",
            condition.type_, condition.status, condition.reason, condition.message
        )
    };
    status
        .conditions
        .iter()
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_cluster_where_all_is_well() {
    let status = Scene::new().status();
    assert_eq!(status.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    insta::assert_yaml_snapshot!(RealtimeClusterStatus {
        version: None,
        ..status
    });
}

#[test]
fn an_image_that_cannot_be_pulled_stalls_and_says_which() {
    let mut scene = Scene::new();
    scene.deployment = Some(deployment(3, 3, 3, 0));
    scene.pods = vec![pod(json!({ "containerStatuses": [{
        "name": "gateway", "image": "nowhere/gateway:1", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image" } },
    }] }))];
    insta::assert_snapshot!(scene.conditions());
}

#[test]
fn a_bad_image_during_a_rollout_leaves_the_cluster_ready_and_stalled() {
    let mut scene = Scene::new();
    scene.deployment = Some(deployment(3, 4, 1, 3));
    scene.pods = vec![pod(json!({ "containerStatuses": [{
        "name": "gateway", "image": "nowhere/gateway:2", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": { "reason": "ErrImagePull" } },
    }] }))];
    let status = scene.status();
    assert!(
        is_true(&status.conditions, condition::READY),
        "{}",
        lines(&status)
    );
    assert!(is_true(&status.conditions, condition::STALLED));
    assert!(!is_true(&status.conditions, condition::RECONCILING));
}

#[test]
fn a_crash_is_told_with_its_last_words() {
    let mut scene = Scene::new();
    scene.deployment = Some(deployment(1, 1, 1, 0));
    scene.pods = vec![pod(json!({ "containerStatuses": [{
        "name": "gateway", "image": "gateway:1", "imageID": "", "ready": false, "restartCount": 5,
        "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        "lastState": { "terminated": { "exitCode": 1, "reason": "Error", "message": "no such file:\n  /etc/rotunda" } },
    }] }))];
    insta::assert_snapshot!(scene.conditions());
}

#[test]
fn without_an_address_it_is_not_ready_and_still_working() {
    let mut scene = Scene::new();
    scene.service = Some(service(json!({ "loadBalancer": {} })));
    insta::assert_snapshot!(scene.conditions());
    assert_eq!(scene.status().endpoint, None);
}

#[test]
fn rolling_is_ready_and_reconciling() {
    let mut scene = Scene::new();
    scene.deployment = Some(deployment(3, 4, 2, 3));
    insta::assert_snapshot!(scene.conditions());
}

#[test]
fn fewer_ready_pods_than_wanted_are_degraded() {
    let mut scene = Scene::new();
    scene.deployment = Some(deployment(3, 3, 3, 2));
    let status = scene.status();
    assert!(is_true(&status.conditions, condition::READY));
    assert!(is_true(&status.conditions, condition::DEGRADED));
    assert!(!is_true(&status.conditions, condition::GATEWAYS_READY));
}

#[test]
fn a_refusal_while_pods_serve_stalls_and_stays_ready() {
    let scene = Scene::new();
    let refusal = Refusal {
        problems: vec![problem(
            reason::SECRET_NOT_FOUND,
            "Secret \"a\" doesn't exist.",
        )],
    };
    let status = scene.status_after(Outcome::Refused(&refusal));
    assert!(
        is_true(&status.conditions, condition::READY),
        "{}",
        lines(&status)
    );
    assert!(is_true(&status.conditions, condition::STALLED));
}

#[test]
fn a_new_cluster_is_never_taken_for_ready() {
    let mut scene = Scene::new();
    (scene.deployment, scene.service, scene.redis) = (None, None, None);
    insta::assert_snapshot!(scene.conditions());
}

#[test]
fn transition_times_stay_while_a_status_stays() {
    let mut scene = Scene::new();
    let mut before = scene.status();
    let long_ago: Time = parse(json!("2020-01-01T00:00:00Z"));
    for condition in &mut before.conditions {
        condition.last_transition_time = long_ago.clone();
    }
    scene.cluster.status = Some(before.clone());
    assert_eq!(scene.status(), before);
}

#[test]
fn endpoint_follows_type_port_scheme_and_hostname() {
    let endpoint = |spec: Value, service_: Service| {
        let mut scene = Scene::new();
        scene.cluster = cluster(spec);
        scene.service = Some(service_);
        scene.pods = vec![pod(
            json!({ "hostIP": "192.0.2.7", "conditions": [{ "type": "Ready", "status": "True" }] }),
        )];
        let endpoint = scene.status().endpoint.expect("an endpoint");
        (
            endpoint.websocket.unwrap_or_default(),
            endpoint.sse.unwrap_or_default(),
        )
    };
    let urls = |websocket: &str, sse: &str| (websocket.to_owned(), sse.to_owned());
    let balancer = |ingress: Value| service(json!({ "loadBalancer": { "ingress": [ingress] } }));
    assert_eq!(
        endpoint(json!({}), balancer(json!({ "ip": "10.9.0.1" }))),
        urls("ws://10.9.0.1/v1/ws", "http://10.9.0.1/v1/sse")
    );
    assert_eq!(
        endpoint(
            json!({ "service": { "port": 8000 } }),
            balancer(json!({ "hostname": "lb.example.com", "ip": "" }))
        ),
        urls(
            "ws://lb.example.com:8000/v1/ws",
            "http://lb.example.com:8000/v1/sse"
        )
    );
    assert_eq!(
        endpoint(
            json!({ "tls": { "secretName": "cert" } }),
            balancer(json!({ "ip": "2001:db8::1" }))
        ),
        urls("wss://[2001:db8::1]/v1/ws", "https://[2001:db8::1]/v1/sse")
    );
    assert_eq!(
        endpoint(
            json!({ "service": { "hostname": "chat.example.com", "scheme": "wss", "port": 443 } }),
            with_address()
        ),
        urls(
            "wss://chat.example.com/v1/ws",
            "https://chat.example.com/v1/sse"
        )
    );
    assert_eq!(
        endpoint(
            json!({ "service": { "type": "NodePort" } }),
            service(json!({}))
        ),
        urls(
            "ws://192.0.2.7:31234/v1/ws",
            "http://192.0.2.7:31234/v1/sse"
        )
    );
    assert_eq!(
        endpoint(
            json!({ "service": { "type": "ClusterIP" } }),
            service(json!({}))
        ),
        urls("ws://chat.demo.svc/v1/ws", "http://chat.demo.svc/v1/sse")
    );
}

#[test]
fn connections_add_up_and_silent_pods_do_not_count() {
    let mut scene = Scene::new();
    for (uid, connections, rooms, silent) in [
        ("a", 20_400, 7, false),
        ("b", 20_911, 9, false),
        ("c", 999, 99, true),
    ] {
        let stats = Stats {
            connections,
            active_rooms: rooms,
            ..Stats::default()
        };
        let report = PodReport {
            name: uid.to_owned(),
            stats: Some(Arc::new(stats)),
            heard: tokio::time::Instant::now(),
            silent,
        };
        scene.report.pods.insert(uid.to_owned(), report);
    }
    let status = scene.status();
    assert_eq!((status.connections, status.rooms), (Some(41_000), Some(9)));
}

#[test]
fn paused_keeps_everything_else() {
    let mut scene = Scene::new();
    scene.cluster.status = Some(scene.status());
    let paused = compute_paused_status(&scene.cluster, Time(Timestamp::UNIX_EPOCH));
    assert!(is_ready(&paused));
    assert_eq!(paused.endpoint, scene.status().endpoint);
    let told = paused
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Reconciling")
        .expect("there");
    assert_eq!(
        (told.status.as_str(), told.reason.as_str()),
        ("False", "Paused")
    );
}
