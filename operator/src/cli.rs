//! The command line, and the environment variables that stand in for its flags.

use std::net::SocketAddr;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::{context::Settings, watch::Scope};

/// Kubernetes operator for Rotunda: gateways, Redis and rooms from custom resources.
#[derive(Debug, Parser)]
#[command(name = "rotunda-operator", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the controllers.
    Run(RunOptions),
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Namespace to watch; may repeat, or be a list with commas. Default: all
    #[arg(
        long = "namespace",
        env = "ROTUNDA_WATCH_NAMESPACES",
        value_delimiter = ','
    )]
    pub namespaces: Vec<String>,
    /// Image of gateways whose RealtimeCluster names none
    #[arg(long, env = "ROTUNDA_GATEWAY_IMAGE", default_value = concat!("rotunda-gateway:", env!("CARGO_PKG_VERSION")))]
    pub gateway_image: String,
    /// Image of Redis pods whose RealtimeCluster names none
    #[arg(long, env = "ROTUNDA_REDIS_IMAGE", default_value = "valkey/valkey:8.1")]
    pub redis_image: String,
    /// Handle only objects with this value in the annotation `rotunda.dev/controller-class`. Default: those without it
    #[arg(long, env = "ROTUNDA_CONTROLLER_CLASS")]
    pub controller_class: Option<String>,
    /// Address of /livez, /readyz and /metrics
    #[arg(long, env = "ROTUNDA_OPS_LISTEN", default_value = "0.0.0.0:9090")]
    pub ops_listen: SocketAddr,
    /// Whether to wait for the lease before working
    #[arg(long, env = "ROTUNDA_LEADER_ELECTION", default_value_t = true, action = ArgAction::Set)]
    pub leader_election: bool,
    /// Name of the operator's own pod
    #[arg(long, env = "POD_NAME", hide = true)]
    pub pod_name: Option<String>,
    /// Namespace of the operator's own pod
    #[arg(long, env = "POD_NAMESPACE", hide = true)]
    pub pod_namespace: Option<String>,
}

impl RunOptions {
    /// Where to watch. Empty names, as an empty variable gives them, don't count.
    pub fn scope(&self) -> Scope {
        let mut names: Vec<String> = self
            .namespaces
            .iter()
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        names.sort();
        names.dedup();
        if names.is_empty() {
            Scope::All
        } else {
            Scope::Namespaces(names)
        }
    }

    /// What the controllers need to know.
    pub fn settings(&self) -> Settings {
        Settings {
            gateway_image: self.gateway_image.clone(),
            redis_image: self.redis_image.clone(),
            controller_class: non_empty(self.controller_class.as_ref()),
            operator_namespace: non_empty(self.pod_namespace.as_ref()),
        }
    }
}

fn non_empty(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> RunOptions {
        let all = ["rotunda-operator", "run"].iter().chain(arguments);
        match Cli::try_parse_from(all).expect("valid arguments").command {
            Command::Run(options) => options,
        }
    }

    #[test]
    fn namespaces_may_repeat_or_stand_in_a_list() {
        let scope = options(&["--namespace", "b,a", "--namespace", "a"]).scope();
        assert_eq!(scope, Scope::Namespaces(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn an_empty_list_means_all_namespaces() {
        assert_eq!(options(&["--namespace", ""]).scope(), Scope::All);
        assert_eq!(options(&[]).scope(), Scope::All);
    }

    #[test]
    fn leader_election_takes_a_value() {
        assert!(options(&[]).leader_election);
        assert!(!options(&["--leader-election", "false"]).leader_election);
    }

    #[test]
    fn an_empty_class_is_no_class() {
        assert_eq!(
            options(&["--controller-class", ""])
                .settings()
                .controller_class,
            None
        );
    }
}
