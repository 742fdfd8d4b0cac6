//! Kubernetes and the tools around it, compiled from the Go module in `kubernetes/` and kept in the
//! cache under a hash of its sources.

use std::{
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
/// What `go build` calls that binary: the last element of the module's path.
const MULTI_CALL: &str = "kubernetes";

/// The folder of the Go module.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes")
}

/// Makes sure that [`Layout::tool`] finds everything.
pub async fn build(layout: &Layout) -> Result<()> {
    let module = sources();
    let files = ["go.mod", "go.sum", "main.go", "pause/main.go"].map(|file| module.join(file));
    let go = output(&mut command("go", ["version"]))
        .await
        .context("Go is needed to compile Kubernetes")?;
    let built = layout
        .cache()
        .join(format!("kubernetes-{}", digest(&files, &go).await?));
    if !built.exists() {
        let what = "compiling Kubernetes and its tools (some minutes, the first time only)";
        step(what, compile(&module, &built)).await?;
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

async fn compile(module: &Path, built: &Path) -> Result<()> {
    let unfinished = built.with_extension("unfinished");
    fs::create_dir_all(&unfinished)?;
    let folder = format!("{}/", unfinished.display());
    let arguments = [
        "build",
        "-trimpath",
        "-ldflags=-s -w",
        "-o",
        &folder,
        ".",
        "./pause",
        "tool",
    ];
    let mut build = command("go", arguments);
    // Static, since some of them run in images that hold nothing else.
    output(build.current_dir(module).env("CGO_ENABLED", "0")).await?;
    for part in PARTS {
        let link = unfinished.join(part);
        drop(fs::remove_file(&link));
        symlink(MULTI_CALL, &link)?;
    }
    fs::rename(&unfinished, built).with_context(|| format!("creating {}", built.display()))
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
