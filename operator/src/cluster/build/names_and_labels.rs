//! What the objects of a cluster are called and how they are labelled. Names and selectors can't be changed later
//! without making the objects anew.

/// The two kinds of pods of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Component {
    /// The gateways, and everything that isn't Redis.
    Gateway,
    /// The managed Redis.
    Redis,
}

impl Component {
    /// Value of label `app.kubernetes.io/component`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Redis => "redis",
        }
    }
}

/// Names of the objects of a cluster.
pub mod names {
    /// Everything about the gateways: ServiceAccount, ConfigMap, Secret, Deployment, autoscaler, budget, policy.
    pub fn gateway(cluster: &str) -> String {
        format!("{cluster}-gateway")
    }

    /// The Service that clients connect to.
    pub fn service(cluster: &str) -> String {
        cluster.to_owned()
    }

    /// The Service of the server API.
    pub fn api(cluster: &str) -> String {
        format!("{cluster}-api")
    }

    /// The headless Service of the gateway pods.
    pub fn pods(cluster: &str) -> String {
        format!("{cluster}-pods")
    }

    /// Everything about the managed Redis but the StatefulSets.
    pub fn redis(cluster: &str) -> String {
        format!("{cluster}-redis")
    }

    /// The StatefulSet of one shard.
    pub fn redis_shard(cluster: &str, shard: u32) -> String {
        format!("{cluster}-redis-{shard}")
    }
}

/// Labels of the objects of a cluster.
pub mod labels {
    use std::collections::BTreeMap;

    use super::Component;

    /// The RealtimeCluster an object belongs to.
    pub const CLUSTER: &str = "rotunda.dev/cluster";
    /// The shard a Redis pod belongs to.
    pub const SHARD: &str = "rotunda.dev/shard";

    /// Labels of every object.
    pub fn common(cluster: &str, component: Component) -> BTreeMap<String, String> {
        let mut labels = selector(cluster, component);
        labels.insert(
            "app.kubernetes.io/managed-by".to_owned(),
            "rotunda-operator".to_owned(),
        );
        labels.insert(CLUSTER.to_owned(), cluster.to_owned());
        labels
    }

    /// What selects the pods of one component.
    pub fn selector(cluster: &str, component: Component) -> BTreeMap<String, String> {
        BTreeMap::from([
            (
                "app.kubernetes.io/component".to_owned(),
                component.as_str().to_owned(),
            ),
            ("app.kubernetes.io/instance".to_owned(), cluster.to_owned()),
            ("app.kubernetes.io/name".to_owned(), "rotunda".to_owned()),
        ])
    }
}
