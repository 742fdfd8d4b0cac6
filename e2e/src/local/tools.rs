//! Kubernetes and the tools around it, compiled from the Go module in `kubernetes/` and kept in the
//! cache under a hash of its sources.

use std::{
    fmt::Write,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    command::{command, output},
    digest::digest,
    layout::Layout,
    step::step,
};

/// The parts that one binary holds and tells apart by the name it is started under.
const PARTS: [&str; 6] = [
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
];
/// Part of the hash; another one when [`compile`] makes something else of the same sources.
const BUILD: &str = "static, with versions";
/// What `go build` calls that binary: the last element of the module's path.
const MULTI_CALL: &str = "kubernetes";

/// The folder of the Go module.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes")
}

/// Whether [`build`] has nothing to compile.
pub async fn are_built(layout: &Layout) -> Result<bool> {
    Ok(fs::read_link(layout.cache().join("bin")).ok() == Some(build_folder(layout).await?))
}

/// Makes sure that [`Layout::tool`] finds everything.
pub async fn build(layout: &Layout) -> Result<()> {
    let built = build_folder(layout).await?;
    if !built.exists() {
        let what = "compiling Kubernetes and its tools (some minutes, the first time only)";
        step(what, compile(&sources(), &built)).await?;
    }
    let link = layout.cache().join("bin");
    if fs::read_link(&link).ok().as_deref() != Some(&built) {
        // Renaming replaces an older link in one go.
        let fresh = layout.cache().join("bin.new");
        drop(fs::remove_file(&fresh));
        symlink(&built, &fresh)?;
        fs::rename(&fresh, &link).with_context(|| format!("linking {}", link.display()))?;
        remove_older(layout.cache(), &built);
    }
    Ok(())
}

async fn build_folder(layout: &Layout) -> Result<PathBuf> {
    let files = ["go.mod", "go.sum", "main.go", "pause/main.go"].map(|file| sources().join(file));
    let go = output(&mut command("go", ["version"]))
        .await
        .context("Go is needed to compile Kubernetes")?;
    let hash = digest(&files, &format!("{go}{BUILD}")).await?;
    Ok(layout.cache().join(format!("kubernetes-{hash}")))
}

async fn compile(module: &Path, built: &Path) -> Result<()> {
    let unfinished = built.with_extension("unfinished");
    fs::create_dir_all(&unfinished)?;
    let flags = format!("-ldflags={}", linker_flags(module).await?);
    let folder = format!("{}/", unfinished.display());
    let mut build = command(
        "go",
        [
            "build",
            "-trimpath",
            &flags,
            "-o",
            &folder,
            ".",
            "./pause",
            "tool",
        ],
    );
    // Static, since some of them run in images that hold nothing else.
    output(build.current_dir(module).env("CGO_ENABLED", "0")).await?;
    for part in PARTS {
        let link = unfinished.join(part);
        drop(fs::remove_file(&link));
        symlink(MULTI_CALL, &link)?;
    }
    fs::rename(&unfinished, built).with_context(|| format!("creating {}", built.display()))
}

/// Without symbols, and with the version that Kubernetes's own build would set: clients ask for it.
async fn linker_flags(module: &Path) -> Result<String> {
    let mut list = command(
        "go",
        ["list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes"],
    );
    let version = output(list.current_dir(module)).await?;
    let version = version.trim();
    let mut numbers = version.trim_start_matches('v').split('.');
    let major = numbers.next().unwrap_or_default();
    let minor = numbers.next().unwrap_or_default();
    let mut flags = "-s -w".to_owned();
    for package in [
        "k8s.io/component-base/version",
        "k8s.io/client-go/pkg/version",
    ] {
        for (name, value) in [
            ("gitVersion", version),
            ("gitMajor", major),
            ("gitMinor", minor),
        ] {
            write!(flags, " -X {package}.{name}={value}")?;
        }
    }
    Ok(flags)
}

// Only space is lost when one can't be removed.
fn remove_older(cache: &Path, current: &Path) {
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let is_older = entry
            .file_name()
            .to_string_lossy()
            .starts_with("kubernetes-")
            && entry.path() != current;
        if is_older {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}
