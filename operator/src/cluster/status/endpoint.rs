//! Where clients connect: from the public Service's status, type and ports to the URLs in a cluster's status.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, Service};
use rotunda_crds::{
    RealtimeCluster,
    conditions::reason,
    realtime_cluster::{Endpoint, Scheme, ServiceType},
};

use super::{Observed, Verdict, problem};
use crate::cluster::build::names;

/// Port of the server API.
const API_PORT: u16 = 8081;

/// Where clients connect, or why nowhere yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Host and port.
    pub known: Option<(String, i32)>,
    /// What is missing otherwise.
    missing: String,
}

impl Address {
    /// What condition `EndpointReady` says.
    pub(super) fn verdict(&self) -> Verdict {
        match &self.known {
            Some((host, port)) => Verdict::Yes(problem(
                reason::READY,
                format!("Clients connect to {}.", with_port(host, *port, None)),
            )),
            None => Verdict::No(problem(reason::NO_ADDRESS, self.missing.clone())),
        }
    }
}

pub(super) fn compute_address(observed: &Observed<'_>) -> Address {
    let cluster = observed.cluster;
    let missing = |text: String| Address {
        known: None,
        missing: text,
    };
    let Some(service) = observed.service else {
        return missing("The public Service hasn't been created yet.".to_owned());
    };
    let (namespace, name) = (cluster.namespace(), names::service(cluster.name()));
    let spec = &cluster.spec;
    let found = match spec.service.type_() {
        ServiceType::LoadBalancer => {
            balancer_host(service).map(|host| (host, spec.service_port())).ok_or_else(|| {
                format!(
                    "The load balancer has given no address yet; see: kubectl describe service {name} -n {namespace}. Where \
                     there is no load balancer, set spec.service.type to NodePort or ClusterIP."
                )
            })
        }
        ServiceType::NodePort => {
            let port = service
                .spec
                .iter()
                .flat_map(|spec| spec.ports.iter().flatten())
                .find_map(|port| port.node_port.filter(|_| port.name.as_deref() == Some("client")));
            let host = observed.pods.iter().filter(|pod| is_ready(pod)).filter_map(|pod| node_of(pod)).min();
            host.zip(port)
                .ok_or_else(|| "No node runs a ready gateway pod, so that no node's address can be told.".to_owned())
        }
        ServiceType::ClusterIP => Ok((format!("{name}.{namespace}.svc"), spec.service_port())),
    };
    match found {
        Ok((host, port)) => Address {
            known: Some((spec.service.hostname().map_or(host, str::to_owned), port)),
            missing: String::new(),
        },
        Err(text) => missing(text),
    }
}

pub(super) fn compute_endpoint(cluster: &RealtimeCluster, address: &Address) -> Option<Endpoint> {
    let (host, port) = address.known.as_ref()?;
    let scheme = cluster.spec.scheme();
    let authority = with_port(host, *port, Some(scheme));
    Some(Endpoint {
        address: Some(host.clone()),
        websocket: Some(format!("{}://{authority}/v1/ws", scheme.websocket())),
        sse: Some(format!("{}://{authority}/v1/sse", scheme.http())),
        api: Some(format!(
            "http://{}.{}.svc:{API_PORT}",
            names::api(cluster.name()),
            cluster.namespace()
        )),
    })
}

fn balancer_host(service: &Service) -> Option<String> {
    let ingress = service
        .status
        .as_ref()?
        .load_balancer
        .as_ref()?
        .ingress
        .as_ref()?
        .first()?;
    let of = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    of(&ingress.hostname).or_else(|| of(&ingress.ip))
}

fn is_ready(pod: &Pod) -> bool {
    crate::cluster::pods::is_ready(pod) && pod.metadata.deletion_timestamp.is_none()
}

fn node_of(pod: &Pod) -> Option<String> {
    pod.status.as_ref()?.host_ip.clone()
}

/// `host:port`, without a port that the scheme implies; IPv6 addresses in brackets.
fn with_port(host: &str, port: i32, scheme: Option<Scheme>) -> String {
    let host = match host.parse() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    };
    let implied = match scheme {
        Some(Scheme::Ws) => 80,
        Some(Scheme::Wss) => 443,
        None => 0,
    };
    if port == implied {
        host
    } else {
        format!("{host}:{port}")
    }
}
