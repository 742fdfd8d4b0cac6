//! The examples of `crds/tests`: resources that the API server must take, and such that it must refuse, each with the
//! words that it must use.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::install::repository;

/// One file. Several documents of one object are the object as created and as changed.
#[derive(Debug, Clone)]
pub struct Example {
    /// The file's name, without its extension.
    pub name: String,
    /// The resources.
    pub documents: Vec<Value>,
    text: String,
}

impl Example {
    /// All of a folder, `valid` or `invalid`.
    pub fn all(folder: &str) -> Result<Vec<Self>> {
        let folder = repository().join("crds/tests").join(folder);
        let mut files = fs::read_dir(&folder)
            .with_context(|| folder.display().to_string())?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        files.sort();
        files.iter().map(|file| Self::read(file)).collect()
    }

    fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file)?;
        let documents = serde_yaml::Deserializer::from_str(&text)
            .map(Value::deserialize)
            .collect::<Result<_, _>>()
            .with_context(|| file.display().to_string())?;
        let name = file
            .file_stem()
            .context("a file without a name")?
            .to_string_lossy()
            .into_owned();
        Ok(Self {
            name,
            documents,
            text,
        })
    }

    /// The field that is wrong, `spec.gateway.replicas`.
    pub fn field(&self) -> Option<&str> {
        self.note("field")
    }

    /// What the API server must say; nothing where it has words of its own.
    pub fn message(&self) -> Option<&str> {
        self.note("message")
    }

    fn note(&self, key: &str) -> Option<&str> {
        let mark = format!("# {key}:");
        self.text
            .lines()
            .find_map(|line| line.strip_prefix(&mark))
            .map(str::trim)
    }
}
