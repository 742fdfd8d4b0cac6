//! The operator comes and goes; what it has built stays, and clients don't notice.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rotunda_e2e::{
    chat::{Chat, token},
    eventually::eventually,
    follower::{Follower, Publisher},
    install::{NAMESPACE, RELEASE},
    namespace::{Namespace, tell, with_temp_ns_alone},
    operator,
};
use serde_json::{Value, json};

/// The operator's program, by the first 15 characters that Linux keeps of a name.
const PROGRAM: &str = "rotunda-operato";
/// Name of the gateways' objects.
const GATEWAY: &str = "chat-gateway";

#[tokio::test]
async fn a_killed_operator_that_comes_back_changes_nothing() -> Result<()> {
    with_operator("killed", async |namespace| {
        let cluster = namespace.cluster();
        let running = Running::start(&namespace).await?;

        let leader = operator::leader(cluster, None).await?;
        leader.pod.kill(PROGRAM).await?;
        let start = Instant::now();
        operator::leader(cluster, Some(&leader)).await?;
        tell(format!(
            "another operator worked {:.1} s after the kill",
            start.elapsed().as_secs_f32()
        ));

        running.is_untouched().await?;
        running.can_be_edited().await?;
        running.finish().await
    })
    .await
}

#[tokio::test]
async fn of_two_operators_one_leads_and_the_other_takes_over() -> Result<()> {
    with_operator("leader", async |namespace| {
        let cluster = namespace.cluster();
        let running = Running::start(&namespace).await?;

        cluster.install_operator(&["replicas=2"]).await?;
        let leader = operator::leader(cluster, None).await?;
        for pod in operator::pods(cluster).await? {
            ensure!(pod.ready, "who stands by is ready as well: {pod:?}");
            ensure!(
                operator::says_it_leads(&pod).await? == (pod == leader.pod),
                "{pod:?}"
            );
        }

        // A leader that is asked to go hands over at once, to the one who stood by.
        let start = Instant::now();
        operator::evict(cluster, &leader.pod).await?;
        let next = operator::leader(cluster, Some(&leader)).await?;
        tell(format!(
            "the next operator worked {:.1} s after the last was told to go",
            start.elapsed().as_secs_f32()
        ));
        ensure!(next.pod != leader.pod);

        running.is_untouched().await?;
        running.can_be_edited().await?;
        cluster.install_operator(&[]).await?;
        running.finish().await
    })
    .await
}

#[tokio::test]
async fn helm_upgrades_and_uninstalls_the_operator_without_touching_what_runs() -> Result<()> {
    with_operator("helm", async |namespace| {
        let cluster = namespace.cluster();
        let running = Running::start(&namespace).await?;

        let before = operator::leader(cluster, None).await?;
        cluster.install_operator(&["logLevel=debug"]).await?;
        operator::leader(cluster, Some(&before)).await?;
        running.is_untouched().await?;
        running.can_be_edited().await?;

        let uninstall = ["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"];
        cluster.helm(&uninstall).await?;
        ensure!(
            operator::pods(cluster).await?.is_empty(),
            "the operator is gone"
        );
        running.is_untouched().await?;
        let mut alice = running.chat.client("alice").await?;
        alice.join("lobby").await?;

        cluster.install_operator(&[]).await?;
        operator::leader(cluster, None).await?;
        running.is_untouched().await?;
        running.can_be_edited().await?;
        running.finish().await
    })
    .await
}

/// Runs a test that may leave no operator, or another one, behind: puts it back if it fails.
async fn with_operator(name: &str, test: impl AsyncFnOnce(Namespace) -> Result<()>) -> Result<()> {
    with_temp_ns_alone(name, async |namespace| {
        let cluster = namespace.cluster().clone();
        let outcome = test(namespace).await;
        if outcome.is_err() {
            cluster
                .install_operator(&[])
                .await
                .context("putting the operator back")?;
        }
        outcome
    })
    .await
}

/// A cluster with a user on each of its gateways, somebody who writes, and how its objects were then.
struct Running {
    namespace: Namespace,
    chat: Chat,
    users: Vec<Follower>,
    publisher: Publisher,
    objects: BTreeMap<String, String>,
}

impl Running {
    async fn start(namespace: &Namespace) -> Result<Self> {
        let chat = Chat::start(namespace, &json!({})).await?;
        chat.room_in_force("lobby", &json!({})).await?;
        let pods = chat.gateways(2).await?;
        let endpoint = chat.endpoint().await?;
        let mut users = Vec::new();
        for pod in &pods {
            users.push(
                Follower::join_at(&pod.endpoint(), &endpoint, &token(&pod.name)?, "lobby").await?,
            );
        }
        let publisher = Publisher::start(
            &chat.address().await?,
            &token("writer")?,
            "lobby",
            Duration::from_millis(100),
        );
        for user in &mut users {
            user.got(1).await?;
        }
        // Until then its status changes.
        namespace
            .kubectl(&["rollout", "status", "deployment", GATEWAY, "--timeout=1m"])
            .await?;
        Ok(Self {
            namespace: namespace.clone(),
            users,
            publisher,
            objects: objects(namespace).await?,
            chat,
        })
    }

    /// That no object was made anew or written, and no pod started again.
    async fn is_untouched(&self) -> Result<()> {
        let now = objects(&self.namespace).await?;
        let differ: Vec<_> = self
            .objects
            .keys()
            .chain(now.keys())
            .filter(|name| self.objects.get(*name) != now.get(*name))
            .map(|name| format!("{name}: {:?} → {:?}", self.objects.get(name), now.get(name)))
            .collect();
        ensure!(differ.is_empty(), "{differ:#?}");
        Ok(())
    }

    /// That an edit of the spec takes effect; leaves everything as it was.
    async fn can_be_edited(&self) -> Result<()> {
        let mut client = self.chat.client("editor").await?;
        let publish = json!({ "type": "publish", "room": "den", "data": "hello" });
        ensure!(client.refused(publish.clone()).await? == "forbidden");
        self.chat.room_in_force("den", &json!({})).await?;
        client.request(publish.clone(), "ack").await?;
        self.namespace.kubectl(&["delete", "room", "den"]).await?;
        eventually(
            "the room is closed again",
            Duration::from_secs(20),
            async || {
                ensure!(client.refused(publish.clone()).await? == "forbidden");
                Ok(())
            },
        )
        .await
    }

    /// That no user was disturbed or missed anything.
    async fn finish(self) -> Result<()> {
        let count = self.publisher.finish().await?;
        for user in self.users {
            let story = user.finish(count).await?;
            story.ensure_whole(count)?;
            ensure!(
                story.moves == 0 && story.cuts.is_empty(),
                "{} moves, cuts: {:?}",
                story.moves,
                story.cuts
            );
        }
        Ok(())
    }
}

/// What must not change by itself: identities and specs; of pods also how often they were started; of what is written as a
/// whole, each write. Only the gateways' config may be written, when Rooms are edited.
async fn objects(namespace: &Namespace) -> Result<BTreeMap<String, String>> {
    let kinds = "serviceaccounts,configmaps,secrets,services,deployments,replicasets,statefulsets,pods,\
                 poddisruptionbudgets,networkpolicies,realtimeclusters,rooms";
    let list = namespace.kubectl(&["get", kinds, "--output=json"]).await?;
    let list: Value = serde_json::from_str(&list)?;
    let items = list["items"].as_array().context("no list")?;
    Ok(items.iter().map(identify).collect())
}

fn identify(item: &Value) -> (String, String) {
    let metadata = &item["metadata"];
    let kind = item["kind"].as_str().unwrap_or_default();
    let name = metadata["name"].as_str().unwrap_or_default();
    let more = match kind {
        "Pod" => &item["status"]["containerStatuses"][0]["restartCount"],
        "ConfigMap" if name == GATEWAY => &Value::Null,
        "ServiceAccount" | "ConfigMap" | "Secret" | "Service" | "Deployment" | "StatefulSet" => {
            &metadata["resourceVersion"]
        }
        _ => &Value::Null,
    };
    (
        format!("{kind}/{name}"),
        format!("{} {} {more}", metadata["uid"], metadata["generation"]),
    )
}
