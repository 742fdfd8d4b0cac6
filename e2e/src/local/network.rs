//! The node's address, the pods' network, and the kernel settings they need; what it changes on the
//! machine it can put back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use super::{
    command::{command, output, succeeds},
    layout::{Layout, NETWORK, NODE_ADDRESS, NODE_BRIDGE, NODE_NETWORK, POD_BRIDGE, POD_NETWORK},
};

/// Settings that the cluster needs or that the kubelet changes for itself.
const SETTINGS: [(&str, Option<&str>); 7] = [
    ("net/ipv4/ip_forward", Some("1")),
    ("vm/overcommit_memory", None),
    ("vm/panic_on_oom", None),
    ("kernel/panic", None),
    ("kernel/panic_on_oops", None),
    ("kernel/keys/root_maxkeys", None),
    ("kernel/keys/root_maxbytes", None),
];

#[derive(Deserialize)]
struct Link {
    ifname: String,
}

/// Gives the node its address and the pods their network.
pub(crate) async fn create(layout: &Layout) -> Result<()> {
    save_settings(layout)?;
    let address = format!("{NODE_ADDRESS}/{}", NODE_NETWORK.length());
    for words in [
        &["link", "add", NODE_BRIDGE, "type", "bridge"][..],
        &["address", "add", &address, "dev", NODE_BRIDGE],
        &["link", "set", NODE_BRIDGE, "up"],
    ] {
        output(&mut command("ip", words)).await?;
    }
    for direction in ["-s", "-d"] {
        // For machines whose firewall forwards nothing by itself.
        let network = NETWORK.to_string();
        let rule = [
            "-w",
            "-I",
            "FORWARD",
            direction,
            &network,
            "-m",
            "comment",
            "--comment",
            super::layout::NODE_NAME,
        ];
        output(&mut command(
            "iptables",
            rule.into_iter().chain(["-j", "ACCEPT"]),
        ))
        .await?;
    }
    fs::create_dir_all(layout.at("cni"))?;
    fs::write(
        layout.at("cni/10-rotunda-local.conflist"),
        cni_config(layout).to_string(),
    )?;
    fs::write(layout.at("resolv.conf"), resolv_conf())?;
    Ok(())
}

/// Removes both networks and puts the settings back. A link that is not there is no error.
pub(crate) async fn remove(layout: &Layout) -> Result<()> {
    // The pods' links would go with their namespaces, but the kernel takes its time for that.
    let list = ["-json", "link", "show", "master", POD_BRIDGE];
    let pods = output(&mut command("ip", list)).await.unwrap_or_default();
    let pods: Vec<Link> = serde_json::from_str(&pods).unwrap_or_default();
    let bridges = [NODE_BRIDGE, POD_BRIDGE].map(str::to_owned);
    for link in pods.into_iter().map(|link| link.ifname).chain(bridges) {
        succeeds(&mut command("ip", ["link", "delete", &link])).await;
    }
    restore_settings(layout)
}

fn cni_config(layout: &Layout) -> serde_json::Value {
    json!({
        "cniVersion": "0.4.0",
        "name": super::layout::NODE_NAME,
        "plugins": [
            {
                "type": "bridge",
                "bridge": POD_BRIDGE,
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{ "subnet": POD_NETWORK.to_string() }]],
                    "routes": [{ "dst": "0.0.0.0/0" }],
                    "dataDir": layout.at("cni-leases"),
                },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

/// The machine's name servers as pods can reach them: a resolver on the loopback address is the
/// machine's own, and systemd keeps the ones behind it in a file.
fn resolv_conf() -> String {
    let candidates = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
    let contents = candidates
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok());
    let mut usable = contents.filter(|content| {
        let mut servers = content
            .lines()
            .filter_map(|line| line.trim().strip_prefix("nameserver"));
        servers.any(|server| !server.trim().starts_with("127.") && server.trim() != "::1")
    });
    // With none at all CoreDNS would ask itself; an address that answers nothing does less harm.
    usable
        .next()
        .unwrap_or_else(|| "nameserver 192.0.2.53\n".to_owned())
}

/// The settings as they are, one `name = value` each.
pub(crate) fn settings() -> BTreeSet<String> {
    let line = |(name, value): (&str, String)| format!("{name} = {}", value.trim());
    current_settings().into_iter().map(line).collect()
}

fn current_settings() -> BTreeMap<&'static str, String> {
    let read = |name: &str| fs::read_to_string(Path::new("/proc/sys").join(name)).ok();
    SETTINGS
        .iter()
        .filter_map(|(name, _)| Some((*name, read(name)?)))
        .collect()
}

fn saved_settings(layout: &Layout) -> std::path::PathBuf {
    layout.at("settings.json")
}

fn save_settings(layout: &Layout) -> Result<()> {
    fs::write(
        saved_settings(layout),
        serde_json::to_vec(&current_settings())?,
    )?;
    for (name, value) in SETTINGS {
        if let Some(value) = value {
            fs::write(Path::new("/proc/sys").join(name), value)
                .with_context(|| format!("setting {name}"))?;
        }
    }
    Ok(())
}

fn restore_settings(layout: &Layout) -> Result<()> {
    let Ok(saved) = fs::read(saved_settings(layout)) else {
        return Ok(());
    };
    let saved: BTreeMap<String, String> =
        serde_json::from_slice(&saved).context("reading the saved settings")?;
    for (name, value) in saved {
        fs::write(Path::new("/proc/sys").join(&name), value)
            .with_context(|| format!("putting {name} back"))?;
    }
    fs::remove_file(saved_settings(layout))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::layout::{DNS_ADDRESS, Network};
    use super::*;

    #[test]
    fn the_service_of_the_cluster_dns_is_outside_the_pods_network() {
        let dns = Network::parse(&DNS_ADDRESS.to_string()).expect("an address");
        assert!(!POD_NETWORK.overlaps(dns));
        assert!(!POD_NETWORK.overlaps(NODE_NETWORK));
        assert!(NETWORK.overlaps(POD_NETWORK));
    }
}
