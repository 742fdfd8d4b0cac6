//! The RealtimeCluster `chat` that a test works with: as small as one can be, quick to drain, without rate limits, and
//! with a key that every test knows.

use std::time::Duration;

use anyhow::{Result, ensure};
use rotunda_crds::{RealtimeCluster, Room};
use serde_json::{Value, json};

use crate::{
    eventually::eventually,
    http,
    namespace::{Namespace, RunningPod},
    realtime::RealtimeClient,
    token::Token,
};

/// Name of the RealtimeCluster.
pub const CLUSTER: &str = "chat";
/// Selects its gateway pods.
pub const GATEWAYS: &str = "app.kubernetes.io/instance=chat,app.kubernetes.io/component=gateway,app.kubernetes.io/name=rotunda";
/// Selects its Redis pods.
pub const REDIS: &str = "app.kubernetes.io/instance=chat,app.kubernetes.io/component=redis,app.kubernetes.io/name=rotunda";
/// What tokens are signed with.
pub const SECRET: &str = "a-secret-that-only-end-to-end-tests-know";
/// Name of the Secret that holds it.
const SECRET_NAME: &str = "chat-jwt";

/// A RealtimeCluster in a test's namespace.
#[derive(Debug, Clone)]
pub struct Chat {
    namespace: Namespace,
}

impl Chat {
    /// Applies the cluster and its Secret, with changes of the spec as in a JSON merge patch, and waits until it serves.
    pub async fn start(namespace: &Namespace, changes: &Value) -> Result<Self> {
        namespace.apply(&secret().to_string()).await?;
        let chat = Self::apply(namespace, changes).await?;
        chat.ready().await?;
        Ok(chat)
    }

    /// Applies the cluster alone, and waits for nothing.
    pub async fn apply(namespace: &Namespace, changes: &Value) -> Result<Self> {
        let mut spec = smallest();
        merge(&mut spec, changes);
        let manifest = json!({
            "apiVersion": "rotunda.dev/v1alpha1",
            "kind": "RealtimeCluster",
            "metadata": { "name": CLUSTER },
            "spec": spec,
        });
        namespace.apply(&manifest.to_string()).await?;
        Ok(Self {
            namespace: namespace.clone(),
        })
    }

    /// Applies the cluster with other changes of the smallest spec; the earlier ones are gone then.
    pub async fn change(&self, changes: &Value) -> Result<()> {
        Self::apply(&self.namespace, changes).await.map(drop)
    }

    /// `kubectl patch` of the cluster, as a JSON merge patch.
    pub async fn patch(&self, patch: &Value) -> Result<()> {
        let patch = patch.to_string();
        let arguments = ["patch", "rtc", CLUSTER, "--type=merge", "--patch", &patch];
        self.namespace.kubectl(&arguments).await.map(drop)
    }

    /// Applies a Room whose object and room have the same name, with more in its spec.
    pub async fn room(&self, name: &str, spec: &Value) -> Result<()> {
        let manifest = room(name, spec).to_string();
        self.namespace.apply(&manifest).await.map(drop)
    }

    /// The same, waiting until every gateway runs it.
    pub async fn room_in_force(&self, name: &str, spec: &Value) -> Result<()> {
        self.room(name, spec).await?;
        self.namespace
            .expect_condition::<Room>(name, "Ready", "True", "Ready")
            .await
            .map(drop)
    }

    /// Waits until it says that it serves.
    pub async fn ready(&self) -> Result<()> {
        self.namespace
            .expect_condition::<RealtimeCluster>(CLUSTER, "Ready", "True", "Ready")
            .await
            .map(drop)
    }

    /// The resource as it is now.
    pub async fn get(&self) -> Result<RealtimeCluster> {
        Ok(self.namespace.api().get(CLUSTER).await?)
    }

    /// Waits until exactly that many gateway pods are ready, and returns them.
    pub async fn gateways(&self, count: usize) -> Result<Vec<RunningPod>> {
        self.namespace.ready_pods(GATEWAYS, count).await
    }

    /// The same, waiting also until those that went have handed over and are gone.
    pub async fn settled_gateways(&self, count: usize) -> Result<Vec<RunningPod>> {
        const LIMIT: Duration = Duration::from_mins(1);
        let pods = self.gateways(count).await?;
        eventually("no other gateway pod is left", LIMIT, async || {
            let get = ["get", "pods", "--selector", GATEWAYS, "--output=name"];
            let left = self.namespace.kubectl(&get).await?;
            ensure!(left.lines().count() == count, "{left}");
            Ok(())
        })
        .await?;
        Ok(pods)
    }

    /// The one Redis pod, once it is ready.
    pub async fn redis(&self) -> Result<RunningPod> {
        let pods = self.namespace.ready_pods(REDIS, 1).await?;
        Ok(pods[0].clone())
    }

    /// The public endpoint, `ws://…/v1/ws`, from the status.
    pub async fn endpoint(&self) -> Result<String> {
        const LIMIT: Duration = Duration::from_secs(30);
        eventually("an endpoint in the status", LIMIT, async || {
            let status = self.get().await?.status.unwrap_or_default();
            let url = status.endpoint.unwrap_or_default().websocket;
            ensure!(url.is_some(), "there is none");
            Ok(url.unwrap_or_default())
        })
        .await
    }

    /// The address of the LoadBalancer, where HTTP is served too.
    pub async fn address(&self) -> Result<String> {
        self.endpoint().await?;
        let status = self.get().await?.status.unwrap_or_default();
        Ok(status
            .endpoint
            .unwrap_or_default()
            .address
            .unwrap_or_default())
    }

    /// A user's connection through the LoadBalancer.
    pub async fn client(&self, user: &str) -> Result<RealtimeClient> {
        RealtimeClient::connect(&self.endpoint().await?, &token(user)?).await
    }

    /// A user's connection to one pod.
    pub async fn client_on(&self, pod: &RunningPod, user: &str) -> Result<RealtimeClient> {
        RealtimeClient::connect(&pod.endpoint(), &token(user)?).await
    }
}

impl RunningPod {
    /// Where a gateway pod takes WebSockets.
    pub fn endpoint(&self) -> String {
        format!("ws://{}:8080/v1/ws", self.ip)
    }

    /// `host:port` where a gateway pod takes requests of clients.
    pub fn address(&self) -> String {
        format!("{}:8080", self.ip)
    }

    /// What a gateway pod says about itself.
    pub async fn stats(&self) -> Result<Value> {
        http::get(&format!("http://{}:9090/stats", self.ip))
            .await?
            .json()
    }
}

/// A token for a user of the cluster, for an hour.
pub fn token(user: &str) -> Result<String> {
    Token::of(user).sign(SECRET)
}

/// The Secret with the key of the tokens.
pub fn secret() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": SECRET_NAME },
        "stringData": { "secret": SECRET },
    })
}

/// A Room of the cluster whose object and room have the same name, with more in its spec.
pub fn room(name: &str, spec: &Value) -> Value {
    let mut whole = json!({ "clusterRef": { "name": CLUSTER }, "name": name });
    merge(&mut whole, spec);
    json!({
        "apiVersion": "rotunda.dev/v1alpha1",
        "kind": "Room",
        "metadata": { "name": name },
        "spec": whole,
    })
}

fn smallest() -> Value {
    json!({
        "gateway": {
            "replicas": 2,
            "drainSeconds": 2,
            "resources": { "requests": { "cpu": "10m", "memory": "32Mi" }, "limits": { "memory": "128Mi" } },
        },
        "redis": {
            "managed": {
                "shards": 1,
                "resources": { "requests": { "cpu": "10m", "memory": "32Mi" }, "limits": { "memory": "64Mi" } },
            },
        },
        "auth": {
            "jwt": {
                "keys": [{
                    "id": "main",
                    "secretRef": { "name": SECRET_NAME, "key": "secret" },
                    "algorithms": ["HS256"],
                }],
            },
        },
        "limits": { "messagesPerSecond": 0 },
    })
}

/// As a JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().map(|object| object.remove(name));
        } else {
            merge(&mut target[name], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_the_spec_add_replace_and_remove() {
        let mut spec = smallest();
        merge(
            &mut spec,
            &json!({ "gateway": { "replicas": 5, "resources": null }, "autoscaling": { "minReplicas": 2 } }),
        );
        assert_eq!(spec["gateway"], json!({ "replicas": 5, "drainSeconds": 2 }));
        assert_eq!(spec["autoscaling"], json!({ "minReplicas": 2 }));
    }
}
