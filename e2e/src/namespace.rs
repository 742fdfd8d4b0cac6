//! A namespace for one test: gone when the test passed, kept with an explanation when it failed.

use std::{
    env,
    fmt::{Display, Write},
    io::{self, Write as _},
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::FutureExt;
use k8s_openapi::api::core::v1::{Namespace as Object, Pod};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
    core::NamespaceResourceScope,
};
use rand::{Rng, distr::Alphanumeric};
use serde_json::json;

use crate::{cluster::Cluster, eventually::eventually, install, turns::Turn};

/// The label of every namespace made here: `kubectl delete namespaces --selector rotunda.dev/e2e`.
pub const LABEL: &str = "rotunda.dev/e2e";

/// A namespace to work in.
#[derive(Debug, Clone)]
pub struct Namespace {
    cluster: Cluster,
    name: String,
}

/// Runs `test` in a new namespace, beside other tests. One that fails leaves the namespace as it is and shows what is in
/// it: events, conditions, logs. `ROTUNDA_E2E_KEEP=1` keeps it also when the test passes.
pub async fn with_temp_ns<T>(
    name: &str,
    test: impl AsyncFnOnce(Namespace) -> Result<T>,
) -> Result<T> {
    let _turn = Turn::among_others().await;
    run(name, test).await
}

/// The same, while no other test runs: for what others would notice, and for what they would disturb.
pub async fn with_temp_ns_alone<T>(
    name: &str,
    test: impl AsyncFnOnce(Namespace) -> Result<T>,
) -> Result<T> {
    let _turn = Turn::alone().await;
    run(name, test).await
}

async fn run<T>(name: &str, test: impl AsyncFnOnce(Namespace) -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let cluster = Cluster::connect().await?;
    let namespace = Namespace::create(cluster, name).await?;
    // A failed assertion must not skip what follows either.
    let outcome = AssertUnwindSafe(test(namespace.clone()))
        .catch_unwind()
        .await;
    tell(format!("{name}: {:.1} s", start.elapsed().as_secs_f32()));
    match outcome {
        Ok(Ok(value)) => {
            if env::var_os("ROTUNDA_E2E_KEEP").is_none() {
                namespace.delete().await?;
            }
            Ok(value)
        }
        Ok(Err(error)) => {
            namespace.explain().await;
            Err(error)
        }
        Err(panic) => {
            namespace.explain().await;
            std::panic::resume_unwind(panic)
        }
    }
}

/// Shows a line also where the output of tests that pass is not shown: durations, and figures that were measured.
pub fn tell(line: impl Display) {
    writeln!(io::stderr(), "    {line}").ok();
}

impl Namespace {
    /// Makes another one; [`Namespace::delete`] takes it away.
    pub async fn another(&self, name: &str) -> Result<Self> {
        Self::create(self.cluster.clone(), name).await
    }

    async fn create(cluster: Cluster, name: &str) -> Result<Self> {
        const RANDOM: usize = 5;
        let random: String = rand::rng()
            .sample_iter(Alphanumeric)
            .take(RANDOM)
            .map(char::from)
            .collect();
        let name = format!("{name}-{}", random.to_lowercase());
        let object: Object = serde_json::from_value(
            json!({ "metadata": { "name": name, "labels": { LABEL: "true" } } }),
        )?;
        let namespaces: Api<Object> = cluster.all();
        namespaces
            .create(&PostParams::default(), &object)
            .await
            .with_context(|| format!("creating namespace {name}"))?;
        Ok(Self { cluster, name })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster it is in.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Its objects of one kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        self.cluster.namespaced(&self.name)
    }

    /// `kubectl --namespace …`
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(&self.with_namespace(arguments)).await
    }

    /// `kubectl apply` of manifests; those that name no namespace go into this one.
    pub async fn apply(&self, manifests: &str) -> Result<String> {
        self.cluster
            .kubectl_with_input(&self.with_namespace(&["apply", "-f", "-"]), manifests)
            .await
    }

    /// What the API server says to manifests that it must not take.
    pub async fn apply_refused(&self, manifests: &str) -> Result<String> {
        self.cluster
            .kubectl_refused(&self.with_namespace(&["apply", "-f", "-"]), manifests)
            .await
    }

    /// The pods that a label selector finds, without those that are going away.
    pub async fn pods(&self, selector: &str) -> Result<Vec<RunningPod>> {
        let list = self
            .api::<Pod>()
            .list(&ListParams::default().labels(selector))
            .await?;
        Ok(list.items.iter().filter_map(RunningPod::read).collect())
    }

    /// Waits until exactly `count` pods that the selector finds are ready, and returns them.
    pub async fn ready_pods(&self, selector: &str, count: usize) -> Result<Vec<RunningPod>> {
        const LIMIT: Duration = Duration::from_mins(2);
        eventually(
            &format!("{count} ready pods of {selector}"),
            LIMIT,
            async || {
                let pods = self.pods(selector).await?;
                let ready = pods.iter().filter(|pod| pod.ready).count();
                ensure!(
                    pods.len() == count && ready == count,
                    "{ready} of {} are ready",
                    pods.len()
                );
                Ok(pods)
            },
        )
        .await
    }

    /// The address that the cluster gave a LoadBalancer Service.
    pub async fn load_balancer_address(&self, service: &str) -> Result<String> {
        const LIMIT: Duration = Duration::from_secs(30);
        let path = "--output=jsonpath={.status.loadBalancer.ingress[0].ip}";
        eventually(
            &format!("an address for the Service {service}"),
            LIMIT,
            async || {
                let address = self.kubectl(&["get", "service", service, path]).await?;
                ensure!(!address.is_empty(), "it has none");
                Ok(address)
            },
        )
        .await
    }

    fn with_namespace<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["--namespace", self.name.as_str()], arguments].concat()
    }

    /// Takes it away; that isn't waited for, since the next test needs nothing of what goes.
    pub async fn delete(&self) -> Result<()> {
        let namespaces: Api<Object> = self.cluster.all();
        namespaces
            .delete(&self.name, &DeleteParams::background())
            .await?;
        Ok(())
    }

    /// Shows what a failed test left.
    async fn explain(&self) {
        let mut text = format!(
            "\n──── the namespace {} stays as the failed test left it\n",
            self.name
        );
        let sections: [(&str, &[&str]); 4] = [
            (
                "objects",
                &[
                    "get",
                    "all,persistentvolumeclaims,configmaps,networkpolicies",
                    "--output=wide",
                ],
            ),
            ("Rotunda's resources", &["describe", "rotunda"]),
            ("events", &["get", "events", "--sort-by=.lastTimestamp"]),
            (
                "logs",
                &[
                    "logs",
                    "--selector=app.kubernetes.io/name=rotunda",
                    "--all-containers",
                    "--prefix",
                    "--tail=60",
                ],
            ),
        ];
        for (title, arguments) in sections {
            let said = self
                .kubectl(arguments)
                .await
                .unwrap_or_else(|error| format!("{error:#}\n"));
            write!(text, "──── {title}\n{said}").expect("a String takes any text");
        }
        let operator = [
            "logs",
            "--namespace",
            install::NAMESPACE,
            "--selector=app.kubernetes.io/name=rotunda-operator",
            "--tail=2000",
        ];
        let said = self
            .cluster
            .kubectl(&operator)
            .await
            .unwrap_or_else(|error| format!("{error:#}\n"));
        let about_this = said
            .lines()
            .filter(|line| line.contains(&self.name))
            .collect::<Vec<_>>()
            .join("\n");
        write!(text, "──── the operator about it\n{about_this}\n")
            .expect("a String takes any text");
        writeln!(
            text,
            "──── to remove it: rotunda-local kubectl -- delete namespace {}",
            self.name
        )
        .expect("a String takes any text");
        eprintln!("{text}");
    }
}

/// A pod that a test can talk to: the machine routes to its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningPod {
    /// Its name.
    pub name: String,
    /// Its identity: another pod of the same name has another one.
    pub uid: String,
    /// Its address.
    pub ip: String,
    /// Whether it is ready.
    pub ready: bool,
}

impl RunningPod {
    pub(crate) fn read(pod: &Pod) -> Option<Self> {
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let status = pod.status.as_ref()?;
        let mut conditions = status.conditions.iter().flatten();
        Some(Self {
            name: pod.name_any(),
            uid: pod.uid()?,
            ip: status.pod_ip.clone().unwrap_or_default(),
            ready: conditions
                .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        })
    }
}
