//! Builds images without a Docker engine: buildah with a storage of its own in the cache.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use tokio::process::Command;

use super::{
    super::{
        command::{command, output, succeeds},
        layout::Layout,
        step::step,
    },
    recipe::Recipe,
};

/// Builds one and writes it to an archive.
pub(super) async fn build(
    layout: &Layout,
    recipe: &Recipe,
    reference: &str,
    archive: &Path,
) -> Result<()> {
    build_into_storage(layout, recipe, reference).await?;
    let folder = archive.parent().context("an archive in a folder")?;
    fs::create_dir_all(folder)?;
    // Renamed once complete, so that what has the archive's name is whole.
    let unfinished = archive.with_extension("unfinished");
    drop(fs::remove_file(&unfinished));
    let target = format!("docker-archive:{}:{reference}", unfinished.display());
    output(&mut buildah(
        layout,
        &["push", "--quiet", reference, &target],
    ))
    .await?;
    fs::rename(&unfinished, archive).with_context(|| format!("creating {}", archive.display()))?;
    output(&mut buildah(layout, &["rmi", reference])).await?;
    Ok(())
}

/// Pushes what an archive holds to a registry.
pub(crate) async fn push(layout: &Layout, archive: &Path, target: &str) -> Result<()> {
    let source = format!("docker-archive:{}", archive.display());
    let id = output(&mut buildah(layout, &["pull", "--quiet", &source])).await?;
    let target = format!("docker://{target}");
    output(&mut buildah(
        layout,
        &["push", "--quiet", id.trim(), &target],
    ))
    .await?;
    Ok(())
}

/// Builds the base of the product's images where the storage lacks it; returns its reference.
pub(super) async fn ensure_base(layout: &Layout, recipe: &Recipe) -> Result<String> {
    let reference = recipe.reference().await?;
    if !succeeds(&mut buildah(
        layout,
        &["inspect", "--type", "image", &reference],
    ))
    .await
    {
        let what = format!("building image {}", recipe.name);
        step(what, build_into_storage(layout, recipe, &reference)).await?;
    }
    Ok(reference)
}

async fn build_into_storage(layout: &Layout, recipe: &Recipe, reference: &str) -> Result<()> {
    fs::create_dir_all(layout.cache())?;
    let context = tempfile::tempdir_in(layout.cache())?;
    recipe.write_context(context.path()).await?;
    let mut build = buildah(
        layout,
        &[
            "build",
            "--isolation",
            "chroot",
            "--pull-never",
            "--tag",
            reference,
        ],
    );
    for (name, value) in &recipe.arguments {
        build.arg("--build-arg").arg(format!("{name}={value}"));
    }
    output(build.arg(context.path())).await?;
    Ok(())
}

fn buildah(layout: &Layout, arguments: &[&str]) -> Command {
    let mut buildah = command("buildah", ["--storage-driver", "vfs", "--root"]);
    buildah
        .arg(layout.cache().join("buildah"))
        .arg("--runroot")
        .arg(layout.cache().join("buildah-run"));
    buildah.args(arguments);
    buildah
}
