//! The Debian packages the cluster needs, installed when missing.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result};

use super::{
    command::{command, output, succeeds},
    preflight::CannotRunContainers,
    step::step,
};

/// A package, and the file whose presence tells that it is installed.
const PACKAGES: [(&str, &str); 7] = [
    ("buildah", "/usr/bin/buildah"),
    ("containerd", "/usr/bin/containerd"),
    ("containernetworking-plugins", "/usr/lib/cni/bridge"),
    ("iproute2", "/usr/sbin/ip"),
    ("iptables", "/usr/sbin/iptables"),
    ("redis-tools", "/usr/bin/redis-check-rdb"),
    ("runc", "/usr/sbin/runc"),
];

/// Installs what is missing; shows what that is.
pub(crate) async fn install_missing() -> Result<()> {
    install(&PACKAGES).await
}

/// Installs what building images takes, for clusters that are not this machine's.
pub(crate) async fn install_missing_for_images() -> Result<()> {
    let needed = ["buildah", "redis-tools"];
    let packages: Vec<_> = PACKAGES
        .into_iter()
        .filter(|(name, _)| needed.contains(name))
        .collect();
    install(&packages).await
}

async fn install(packages: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<_> = packages
        .iter()
        .filter(|(_, file)| !Path::new(file).exists())
        .map(|(name, _)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !succeeds(&mut command("apt-get", ["--version"])).await {
        return Err(CannotRunContainers(format!(
            "it lacks {names}, and there is no apt-get to install them"
        ))
        .into());
    }
    step(format!("installing Debian packages: {names}"), async {
        let _no_services = ServicesStayOff::new()?;
        if !succeeds(&mut apt_get_install(&missing)).await {
            // Stale or absent package lists are the usual reason.
            output(&mut command("apt-get", ["update", "--quiet"])).await?;
            output(&mut apt_get_install(&missing)).await?;
        }
        Ok(())
    })
    .await
}

fn apt_get_install(packages: &[&str]) -> tokio::process::Command {
    let options = ["install", "--yes", "--quiet", "--no-install-recommends"];
    let mut install = command("apt-get", options.iter().chain(packages));
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install
}

/// Keeps packages from starting the services they bring, which nobody asked for: Debian's switch
/// for that is a program of this name that forbids it.
struct ServicesStayOff {
    created: bool,
}

impl ServicesStayOff {
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    fn new() -> Result<Self> {
        if Path::new(Self::POLICY).exists() {
            return Ok(Self { created: false });
        }
        let write = || {
            fs::write(Self::POLICY, "#!/bin/sh\nexit 101\n")?;
            fs::set_permissions(Self::POLICY, fs::Permissions::from_mode(0o755))
        };
        write().with_context(|| format!("writing {}", Self::POLICY))?;
        Ok(Self { created: true })
    }
}

impl Drop for ServicesStayOff {
    fn drop(&mut self) {
        if self.created {
            drop(fs::remove_file(Self::POLICY));
        }
    }
}
