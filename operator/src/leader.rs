//! Which replica of the operator works: a Lease of `coordination.k8s.io`, held by one process at a time.
//!
//! [`Elector::acquire`] waits until the lease is ours, [`Leadership::hold`] renews it until asked to stop (then gives it
//! up, so that the next replica needn't wait) or until it is lost, which the caller must answer by ending the process:
//! somebody else may be writing already. Expiry is judged by how long the lease went unchanged on our own clock, never by
//! comparing clocks of two machines.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long things take; the relations are those of client-go (lease > renew deadline > retry).
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// A lease unchanged for this long is free.
    pub lease: Duration,
    /// A holder that couldn't renew for this long gives up. Shorter than `lease`, so that two never work at once.
    pub renew_deadline: Duration,
    /// Pause between two attempts.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Why the lease is not ours any more.
#[derive(Debug, Error)]
pub enum Lost {
    /// Another process holds it.
    #[error("the lease was taken by {0:?}")]
    Taken(String),
    /// The API server couldn't be reached, or refused, for longer than the renew deadline.
    #[error("the lease could not be renewed in time")]
    NotRenewed(#[source] Option<kube::Error>),
}

/// Competes for one lease.
#[derive(Clone)]
pub struct Elector {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
}

/// The lease as last written by us.
pub struct Leadership {
    elector: Elector,
    lease: Lease,
    renewed: Instant,
}

/// Last sight of a lease held by somebody else.
struct Sighting {
    holder: String,
    resource_version: Option<String>,
    since: Instant,
}

impl Elector {
    /// `identity` must differ between any two processes, restarts of one pod included.
    pub fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        timing: Timing,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity,
            timing,
        }
    }

    /// Waits until the lease is ours. Errors of the API server are logged and waited out.
    pub async fn acquire(&self) -> Leadership {
        let mut sighting = None;
        loop {
            let asked = Instant::now();
            match self.try_acquire(&mut sighting).await {
                Ok(Some(lease)) => {
                    tracing::info!(lease = %self.name, identity = %self.identity, "became leader");
                    return Leadership {
                        elector: self.clone(),
                        lease,
                        renewed: asked,
                    };
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(lease = %self.name, %error, "could not look at the lease");
                }
            }
            sleep(self.timing.retry).await;
        }
    }

    async fn try_acquire(
        &self,
        sighting: &mut Option<Sighting>,
    ) -> Result<Option<Lease>, kube::Error> {
        let written = match self.api.get_opt(&self.name).await? {
            None => {
                let lease = Lease {
                    metadata: ObjectMeta {
                        name: Some(self.name.clone()),
                        ..ObjectMeta::default()
                    },
                    spec: Some(self.spec(None)),
                };
                self.api.create(&PostParams::default(), &lease).await
            }
            Some(mut lease) => {
                if !self.is_free(&lease, sighting) {
                    return Ok(None);
                }
                lease.spec = Some(self.spec(lease.spec.as_ref()));
                self.api
                    .replace(&self.name, &PostParams::default(), &lease)
                    .await
            }
        };
        match written {
            Ok(lease) => Ok(Some(lease)),
            // Another candidate was quicker.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_free(&self, lease: &Lease, sighting: &mut Option<Sighting>) -> bool {
        let Some(holder) = holder_of(lease) else {
            return true;
        };
        if holder == self.identity {
            return true;
        }
        let resource_version = lease.metadata.resource_version.clone();
        match sighting {
            Some(seen) if seen.resource_version == resource_version => {
                let promised = lease
                    .spec
                    .as_ref()
                    .and_then(|spec| spec.lease_duration_seconds)
                    .and_then(|seconds| u64::try_from(seconds).ok())
                    .map_or(self.timing.lease, Duration::from_secs);
                seen.since.elapsed() >= promised
            }
            _ => {
                if sighting.as_ref().is_none_or(|seen| seen.holder != holder) {
                    tracing::info!(lease = %self.name, holder, "another replica leads; standing by");
                }
                *sighting = Some(Sighting {
                    holder: holder.to_owned(),
                    resource_version,
                    since: Instant::now(),
                });
                false
            }
        }
    }

    /// The spec with us as the holder; `previous` decides whether that is a transition.
    fn spec(&self, previous: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let ours =
            previous.is_some_and(|spec| spec.holder_identity.as_deref() == Some(&self.identity));
        let transitions = previous
            .and_then(|spec| spec.lease_transitions)
            .unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.timing.lease.as_secs()).ok(),
            acquire_time: previous
                .filter(|_| ours)
                .and_then(|spec| spec.acquire_time.clone())
                .or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if ours { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }
}

impl Leadership {
    /// Renews until `stop` fires, then gives the lease up and returns `Ok`. `Err` means that it is lost.
    pub async fn hold(mut self, stop: CancellationToken) -> Result<(), Lost> {
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    self.release().await;
                    return Ok(());
                }
                () = sleep(self.elector.timing.retry) => self.renew().await?,
            }
        }
    }

    async fn renew(&mut self) -> Result<(), Lost> {
        let deadline = self.renewed + self.elector.timing.renew_deadline;
        let mut last_error = None;
        loop {
            let asked = Instant::now();
            match timeout_at(deadline, self.try_renew()).await {
                Ok(Ok(None)) => {
                    self.renewed = asked;
                    return Ok(());
                }
                Ok(Ok(Some(holder))) => return Err(Lost::Taken(holder)),
                Ok(Err(error)) => {
                    tracing::warn!(lease = %self.elector.name, %error, "could not renew the lease");
                    last_error = Some(error);
                }
                Err(_) => return Err(Lost::NotRenewed(last_error)),
            }
            if timeout_at(deadline, sleep(self.elector.timing.retry))
                .await
                .is_err()
            {
                return Err(Lost::NotRenewed(last_error));
            }
        }
    }

    /// `Ok(Some(holder))` when somebody else holds the lease now.
    async fn try_renew(&mut self) -> Result<Option<String>, kube::Error> {
        let Elector { api, name, .. } = &self.elector;
        self.lease.spec = Some(self.elector.spec(self.lease.spec.as_ref()));
        match api.replace(name, &PostParams::default(), &self.lease).await {
            Ok(lease) => {
                self.lease = lease;
                Ok(None)
            }
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {
                // Changed behind our back: by a hand that left us as the holder, or by another candidate.
                match api.get_opt(name).await? {
                    Some(lease) if holder_of(&lease) == Some(&self.elector.identity) => {
                        self.lease = lease;
                        Err(kube::Error::Api(status))
                    }
                    found => Ok(Some(
                        found
                            .as_ref()
                            .and_then(holder_of)
                            .unwrap_or_default()
                            .to_owned(),
                    )),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn release(mut self) {
        if let Some(spec) = &mut self.lease.spec {
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(Timestamp::now()));
            // A second, as in client-go: whoever doesn't understand an empty holder waits no longer than that.
            spec.lease_duration_seconds = Some(1);
        }
        let Elector {
            api, name, timing, ..
        } = &self.elector;
        let params = PostParams::default();
        let write = api.replace(name, &params, &self.lease);
        match timeout_at(Instant::now() + timing.renew_deadline, write).await {
            Ok(Ok(_)) => tracing::info!(lease = %name, "released the lease"),
            Ok(Err(error)) => {
                tracing::warn!(lease = %name, %error, "could not release the lease; it expires by itself");
            }
            Err(_) => {
                tracing::warn!(lease = %name, "releasing the lease took too long; it expires by itself");
            }
        }
    }
}

fn holder_of(lease: &Lease) -> Option<&str> {
    lease
        .spec
        .as_ref()
        .and_then(|spec| spec.holder_identity.as_deref())
        .filter(|holder| !holder.is_empty())
}

#[cfg(test)]
mod tests;
