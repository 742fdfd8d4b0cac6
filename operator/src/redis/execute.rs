//! Carries out one step. Every node is logged in to and recognised again right before, and a step that was half done
//! before is simply done again.

use redis::cmd;

use super::{
    link::{Error, Link},
    nodes,
    plan::Step,
    slots::SlotSet,
    topology::{Identity, NodeId},
};
use crate::cluster::model::Hidden;

/// Carries out `step`.
pub async fn execute(step: &Step, password: &Hidden) -> Result<(), Error> {
    match step {
        Step::Meet { by, others } => meet(by, others, password).await,
        Step::TakeOver { replica, .. } => {
            let mut link = Link::open(replica, password).await?;
            link.ask(
                "CLUSTER FAILOVER",
                cmd("CLUSTER").arg("FAILOVER").arg("TAKEOVER"),
            )
            .await
        }
        Step::Forget { by, lost, .. } => forget(by, lost, password).await,
        Step::AssignSlots { to, slots } => assign(to, slots, password).await,
        Step::Replicate { replica, primary } => {
            let mut link = Link::open(replica, password).await?;
            link.ask(
                "CLUSTER REPLICATE",
                cmd("CLUSTER").arg("REPLICATE").arg(&primary.id.0),
            )
            .await
        }
    }
}

async fn meet(by: &Identity, others: &[Identity], password: &Hidden) -> Result<(), Error> {
    let mut link = Link::open(by, password).await?;
    for other in others {
        // Logged in and recognised, and only then introduced: whoever is met becomes a part of the cluster.
        let _recognised = Link::open(other, password).await?;
        let at = other.at;
        let mut meet = cmd("CLUSTER");
        meet.arg("MEET")
            .arg(at.client.ip().to_string())
            .arg(at.client.port())
            .arg(at.bus_port);
        link.ask::<()>("CLUSTER MEET", &meet).await?;
    }
    Ok(())
}

async fn forget(by: &[Identity], lost: &NodeId, password: &Hidden) -> Result<(), Error> {
    // All of them within a minute, or the others' gossip brings it back (Redis documentation, "CLUSTER FORGET").
    for node in by {
        let mut link = Link::open(node, password).await?;
        if table(&mut link, node).await?.peers.contains_key(lost) {
            link.ask::<()>("CLUSTER FORGET", cmd("CLUSTER").arg("FORGET").arg(&lost.0))
                .await?;
        }
    }
    Ok(())
}

async fn assign(to: &Identity, slots: &SlotSet, password: &Hidden) -> Result<(), Error> {
    let mut link = Link::open(to, password).await?;
    let open = slots.without(&table(&mut link, to).await?.slots);
    if !open.is_empty() {
        let mut add = cmd("CLUSTER");
        add.arg("ADDSLOTSRANGE");
        for (first, last) in open.ranges() {
            add.arg(first).arg(last);
        }
        link.ask::<()>("CLUSTER ADDSLOTSRANGE", &add).await?;
    }
    // An epoch of its own: so nobody with an older idea of who owns these slots can contest them.
    link.ask("CLUSTER BUMPEPOCH", cmd("CLUSTER").arg("BUMPEPOCH"))
        .await
}

async fn table(link: &mut Link<'_>, of: &Identity) -> Result<nodes::Nodes, Error> {
    let text: String = link
        .ask("CLUSTER NODES", cmd("CLUSTER").arg("NODES"))
        .await?;
    nodes::parse(&text).map_err(|source| Error::Unreadable {
        pod: of.pod.name.clone(),
        source,
    })
}
