//! Stands in for a cloud's load balancers: gives each Service of that type an address of the node's
//! network. kube-proxy does the rest, for clients on the node and in pods.

use std::{collections::BTreeSet, net::Ipv4Addr, pin::pin, time::Duration};

use anyhow::{Result, bail};
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Service;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    runtime::{WatchStreamExt, watcher},
};
use serde_json::json;

/// Last parts of the addresses there are: below are the node's own, above room for tests' clients.
const FIRST: u8 = 16;
const LAST: u8 = 239;

/// Runs for as long as the cluster does.
pub(crate) async fn run(client: Client) -> Result<()> {
    const RETRY: Duration = Duration::from_secs(1);
    let services: Api<Service> = Api::all(client.clone());
    let mut changes = pin!(watcher(services.clone(), watcher::Config::default()).default_backoff());
    let mut next = FIRST;
    while let Some(change) = changes.next().await {
        if let Err(error) = change {
            tracing::warn!(%error, "watching Services");
            continue;
        }
        // What has come in the meantime is in the list that follows.
        while changes.next().now_or_never().flatten().is_some() {}
        while let Err(error) = assign(&client, &services, &mut next).await {
            tracing::warn!(%error, "giving addresses to Services");
            tokio::time::sleep(RETRY).await;
        }
    }
    bail!("the watch of Services has ended")
}

async fn assign(client: &Client, services: &Api<Service>, next: &mut u8) -> Result<()> {
    let list = services.list(&ListParams::default()).await?;
    for change in plan(&list.items, next) {
        let namespaced: Api<Service> = Api::namespaced(client.clone(), &change.namespace);
        let ingress = change
            .address
            .map(|address| json!([{ "ip": address, "ipMode": "VIP" }]));
        let patch = Patch::Merge(json!({ "status": { "loadBalancer": { "ingress": ingress } } }));
        match namespaced
            .patch_status(&change.name, &PatchParams::default(), &patch)
            .await
        {
            Ok(_) => {
                tracing::info!(namespace = change.namespace, name = change.name, address = ?change.address, "assigned");
            }
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Change {
    namespace: String,
    name: String,
    address: Option<Ipv4Addr>,
}

/// What has to change. `next` goes round, so that an address rests before another Service gets it.
fn plan(services: &[Service], next: &mut u8) -> Vec<Change> {
    let mut taken = BTreeSet::new();
    let mut waiting = Vec::new();
    let mut changes = Vec::new();
    for service in services {
        let address = current_address(service);
        if !wants_address(service) {
            // One that is being deleted keeps its address to the end.
            let leaves = service.metadata.deletion_timestamp.is_some();
            match address {
                Some(address) if leaves => drop(taken.insert(address)),
                Some(_) => changes.push(change(service, None)),
                None => {}
            }
        } else if !address.is_some_and(|address| taken.insert(address)) {
            waiting.push(service);
        }
    }
    let pool = usize::from(LAST - FIRST) + 1;
    for service in waiting {
        for _ in 0..pool {
            let [first, second, third, _] = super::layout::NODE_ADDRESS.octets();
            let candidate = Ipv4Addr::new(first, second, third, *next);
            *next = if *next == LAST { FIRST } else { *next + 1 };
            if taken.insert(candidate) {
                changes.push(change(service, Some(candidate)));
                break;
            }
        }
    }
    changes
}

fn change(service: &Service, address: Option<Ipv4Addr>) -> Change {
    Change {
        namespace: service.namespace().unwrap_or_default(),
        name: service.name_any(),
        address,
    }
}

fn wants_address(service: &Service) -> bool {
    let Some(spec) = &service.spec else {
        return false;
    };
    let is_load_balancer = spec.type_.as_deref() == Some("LoadBalancer");
    // A class names an implementation, and this one has no name.
    is_load_balancer
        && spec.load_balancer_class.is_none()
        && service.metadata.deletion_timestamp.is_none()
}

fn current_address(service: &Service) -> Option<Ipv4Addr> {
    let ingress = service
        .status
        .as_ref()?
        .load_balancer
        .as_ref()?
        .ingress
        .as_ref()?;
    ingress.first()?.ip.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, kind: &str, address: Option<&str>) -> Service {
        let ingress = address.map(|ip| json!([{ "ip": ip }]));
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "test" },
            "spec": { "type": kind },
            "status": { "loadBalancer": { "ingress": ingress } },
        }))
        .expect("a Service of the test")
    }

    fn planned(services: &[Service], mut next: u8) -> Vec<(String, Option<String>)> {
        let changes = plan(services, &mut next).into_iter();
        changes
            .map(|change| {
                (
                    change.name,
                    change.address.map(|address| address.to_string()),
                )
            })
            .collect()
    }

    #[test]
    fn each_load_balancer_gets_an_address_of_its_own() {
        let services = [
            service("inside", "ClusterIP", None),
            service("new", "LoadBalancer", None),
            service("old", "LoadBalancer", Some("10.203.0.16")),
            service("newer", "LoadBalancer", None),
        ];
        let expected = [
            ("new".into(), Some("10.203.0.17".into())),
            ("newer".into(), Some("10.203.0.18".into())),
        ];
        assert_eq!(planned(&services, FIRST), expected);
    }

    #[test]
    fn an_address_is_taken_back_from_one_that_is_no_load_balancer_anymore() {
        let services = [service("was", "ClusterIP", Some("10.203.0.16"))];
        assert_eq!(planned(&services, FIRST), [("was".into(), None)]);
    }

    #[test]
    fn a_class_is_left_to_whoever_implements_it() {
        let mut other = service("other", "LoadBalancer", None);
        other.spec.as_mut().expect("set above").load_balancer_class =
            Some("example.com/other".into());
        assert_eq!(planned(&[other], FIRST), []);
    }

    #[test]
    fn addresses_go_round_and_end_when_all_are_taken() {
        let wrapped = planned(
            &[
                service("a", "LoadBalancer", None),
                service("b", "LoadBalancer", None),
            ],
            LAST,
        );
        assert_eq!(wrapped[0].1.as_deref(), Some("10.203.0.239"));
        assert_eq!(wrapped[1].1.as_deref(), Some("10.203.0.16"));
        let many: Vec<_> = (0..300)
            .map(|index| service(&index.to_string(), "LoadBalancer", None))
            .collect();
        assert_eq!(planned(&many, FIRST).len(), 224);
    }
}
