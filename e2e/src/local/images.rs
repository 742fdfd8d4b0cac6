//! The images of the local cluster: those it needs itself and the product's own, built from files of
//! this machine, kept as archives in the cache, imported into containerd. Nothing is pulled.
//!
//! A tag is the hash of everything that went into the image: what has not changed is not built again,
//! and what has gets a name that no pod runs yet.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    command::{command, output},
    layout::Layout,
    packages, preflight,
    step::step,
};

pub(crate) mod buildah;
mod recipe;

use recipe::Recipe;

/// What the local cluster itself runs.
const OF_THE_CLUSTER: [&str; 3] = ["pause", "coredns", "metrics-server"];
/// What the product consists of, and the Redis it manages.
const OF_THE_PRODUCT: [&str; 3] = ["rotunda-operator", "rotunda-gateway", "rotunda-redis"];

/// Names and full references of built images.
#[derive(Debug, Clone, Default)]
pub struct Images(BTreeMap<String, String>);

impl Images {
    /// Those that were imported last.
    pub fn load(layout: &Layout) -> Result<Self> {
        let file = layout.images();
        let content = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        Ok(Self(
            serde_json::from_slice(&content)
                .with_context(|| format!("reading {}", file.display()))?,
        ))
    }

    /// The reference of one: `localhost/<name>:<tag>`.
    pub fn reference(&self, name: &str) -> Result<&str> {
        let reference = self.0.get(name).map(String::as_str);
        reference.with_context(|| {
            format!("no image {name}; `rotunda-local images` builds the product's")
        })
    }

    /// The reference of one in its two parts.
    pub fn repository_and_tag(&self, name: &str) -> Result<(&str, &str)> {
        let reference = self.reference(name)?;
        reference
            .rsplit_once(':')
            .with_context(|| format!("{reference} has no tag"))
    }

    /// Every name with its reference.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, reference)| (name.as_str(), reference.as_str()))
    }

    /// Adds one, or replaces its reference.
    pub(crate) fn insert(&mut self, name: &str, reference: String) {
        self.0.insert(name.to_owned(), reference);
    }

    fn save(&self, layout: &Layout) -> Result<()> {
        let mut all = Self::load(layout).unwrap_or_default();
        all.0.extend(self.0.clone());
        let content = serde_json::to_string_pretty(&all.0)?;
        fs::write(layout.images(), content)
            .with_context(|| format!("writing {}", layout.images().display()))
    }
}

/// The archive that holds an image, for clusters that import files.
pub fn archive(layout: &Layout, reference: &str) -> PathBuf {
    let name = reference
        .rsplit('/')
        .next()
        .unwrap_or(reference)
        .replace(':', "-");
    layout.cache().join("images").join(format!("{name}.tar"))
}

/// Builds what the cluster itself needs, where it is not in the cache.
pub(crate) async fn build_for_cluster(layout: &Layout) -> Result<Images> {
    let mut recipes = Vec::new();
    for name in OF_THE_CLUSTER {
        recipes.push(Recipe::of_tool(name, &layout.tool(name))?);
    }
    build(layout, recipes).await
}

/// Builds the product's images from the binaries beside this one.
pub async fn build_for_product(layout: &Layout) -> Result<Images> {
    packages::install_missing_for_images().await?;
    let this = std::env::current_exe().context("finding this program")?;
    let binaries = this.parent().context("finding this program's folder")?;
    let base = recipe::base(binaries).await?;
    let base_reference = buildah::ensure_base(layout, &base).await?;
    let mut recipes = Vec::new();
    for name in OF_THE_PRODUCT {
        recipes.push(match name {
            "rotunda-redis" => recipe::redis().await?,
            binary => Recipe::of_product(binary, &binaries.join(binary), &base_reference)?,
        });
    }
    build(layout, recipes).await
}

async fn build(layout: &Layout, recipes: Vec<Recipe>) -> Result<Images> {
    let mut images = Images::default();
    for recipe in recipes {
        let reference = recipe.reference().await?;
        let archive = archive(layout, &reference);
        if !archive.exists() {
            let what = format!("building image {}", recipe.name);
            step(what, buildah::build(layout, &recipe, &reference, &archive)).await?;
            remove_older(&archive, recipe.name);
        }
        images.insert(recipe.name, reference);
    }
    Ok(images)
}

/// Imports those that containerd lacks and notes all of them in the state folder.
pub async fn import(layout: &Layout, images: &Images) -> Result<()> {
    let present = output(&mut ctr(layout, &["images", "list", "--quiet"])).await?;
    let missing: Vec<_> = images
        .iter()
        .filter(|(_, reference)| !present.lines().any(|line| line == *reference))
        .collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
        let snapshotter = if preflight::has_overlay(layout).await {
            "overlayfs"
        } else {
            "native"
        };
        step(format!("importing images: {}", names.join(" ")), async {
            for (_, reference) in &missing {
                let archive = archive(layout, reference);
                let arguments = ["images", "import", "--snapshotter", snapshotter];
                output(ctr(layout, &arguments).arg(archive)).await?;
            }
            Ok(())
        })
        .await?;
    }
    images.save(layout)
}

fn ctr(layout: &Layout, arguments: &[&str]) -> tokio::process::Command {
    let mut ctr = command("ctr", ["--namespace", "k8s.io", "--address"]);
    ctr.arg(layout.containerd_socket()).args(arguments);
    ctr
}

/// The Dockerfiles that only the local cluster needs.
fn dockerfiles() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("images")
}

/// Keeps the newest two: the one just built, and the one before it for going back and forth.
fn remove_older(current: &Path, name: &str) {
    const KEPT: usize = 2;
    let entries = current
        .parent()
        .map(fs::read_dir)
        .into_iter()
        .flatten()
        .flatten()
        .flatten();
    let mut archives: Vec<_> = entries
        .filter(|entry| {
            let file = entry.file_name().to_string_lossy().into_owned();
            file.strip_suffix(".tar")
                .and_then(|stem| stem.rsplit_once('-'))
                .is_some_and(|(prefix, _)| prefix == name)
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    archives.sort();
    for (_, path) in archives.iter().rev().skip(KEPT) {
        // Only space is lost when one can't be removed.
        drop(fs::remove_file(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_named_after_its_image_and_tag() {
        let archive = archive(&Layout::from_env(), "localhost/rotunda-gateway:abc");
        assert_eq!(
            archive.file_name().and_then(|name| name.to_str()),
            Some("rotunda-gateway-abc.tar")
        );
    }

    #[test]
    fn only_the_newest_archives_of_an_image_are_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str, age: u64| {
            let path = folder.path().join(name);
            let file = fs::File::create(&path).expect("a file");
            let time = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
            file.set_modified(time).expect("a time for the file");
            path
        };
        let paths = [
            file("a-b-1.tar", 3),
            file("a-b-2.tar", 2),
            file("a-b-3.tar", 1),
            file("a-9.tar", 9),
        ];
        remove_older(&paths[2], "a-b");
        assert_eq!(paths.map(|path| path.exists()), [false, true, true, true]);
    }
}
