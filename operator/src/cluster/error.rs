//! What can go wrong while a RealtimeCluster is reconciled.

use rotunda_crds::conditions::reason;
use thiserror::Error;

use super::model::Problem;
use crate::{
    error_chain::{as_sentence, describe, is_namespace_gone},
    redis,
};

/// What can go wrong with the world outside; each is tried again, later with each failure.
#[derive(Debug, Error)]
pub enum Error {
    /// Something could not be read.
    #[error("could not read {kind} {name}")]
    Read {
        /// Kind of what was read.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the API server said.
        #[source]
        source: kube::Error,
    },
    /// The API server did not take an object.
    #[error("could not apply {kind} {name}")]
    Apply {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the API server said.
        #[source]
        source: kube::Error,
    },
    /// Something unwanted could not be deleted.
    #[error("could not prune {kind} {name}")]
    Prune {
        /// Kind of the object.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What the API server said.
        #[source]
        source: kube::Error,
    },
    /// The status could not be written.
    #[error("could not write the status")]
    Status(#[source] kube::Error),
    /// Redis could not be looked at, or a step failed.
    #[error("could not look after redis")]
    Redis(#[from] redis::Error),
}

impl Error {
    /// For conditions, Events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Read { .. } => "ReadFailed",
            Self::Apply { .. } => reason::APPLY_FAILED,
            Self::Prune { .. } => "PruneFailed",
            Self::Status(_) => "StatusFailed",
            Self::Redis(error) => error.reason(),
        }
    }

    /// Whether it failed because the namespace goes, and everything with it.
    pub(super) fn is_namespace_gone(&self) -> bool {
        match self {
            Self::Read { source, .. }
            | Self::Apply { source, .. }
            | Self::Prune { source, .. }
            | Self::Status(source) => is_namespace_gone(source),
            Self::Redis(_) => false,
        }
    }

    /// What a condition and an Event say about it.
    pub(super) fn problem(&self) -> Problem {
        Problem {
            reason: self.reason(),
            message: as_sentence(&format!("{}; it is tried again", describe(self))),
        }
    }
}
