//! Writing statuses: by server-side apply on the status subresource, at no more than five a second over all objects, so
//! that a thousand Rooms that change at once don't flood the API server.

use std::{fmt::Debug, time::Duration};

use kube::{
    Api, Client, Resource,
    api::{Patch, PatchParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

use crate::{context::FIELD_MANAGER, key::Key};

/// Writes a second, over all objects, when many are due.
const WRITES_PER_SECOND: u32 = 5;
/// Writes that may go out at once after a pause.
const BURST: u32 = 5;

/// Writes statuses.
pub struct StatusWriter {
    client: Client,
    pace: Mutex<Pace>,
}

impl StatusWriter {
    /// A writer that may write at once.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            pace: Mutex::new(Pace {
                full: Instant::now(),
            }),
        }
    }

    /// Makes `status` the status of the object, waiting for its turn. An object that is gone by then is no error.
    pub async fn write<K, S>(&self, key: &Key, status: &S) -> Result<(), kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + DeserializeOwned
            + Clone
            + Debug,
        S: Serialize,
    {
        let turn = self.pace.lock().await.take();
        sleep_until(turn).await;
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
        let body =
            json!({ "apiVersion": K::api_version(&()), "kind": K::kind(&()), "status": status });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match api
            .patch_status(&key.name, &params, &Patch::Apply(body))
            .await
        {
            Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
            answer => answer.map(drop),
        }
    }
}

/// A token bucket, as the time at which it will be full again.
#[derive(Debug)]
struct Pace {
    full: Instant,
}

impl Pace {
    /// Takes one token, possibly of the future, and says when it may be used.
    fn take(&mut self) -> Instant {
        let interval = Duration::from_secs(1) / WRITES_PER_SECOND;
        let now = Instant::now();
        let turn = now.max(self.full.checked_sub(interval * (BURST - 1)).unwrap_or(now));
        self.full = self.full.max(now) + interval;
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_out_at_once_and_the_rest_at_the_steady_rate() {
        let start = Instant::now();
        let mut pace = Pace { full: start };
        let waits: Vec<_> = (0..8).map(|_| (pace.take() - start).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 200, 400, 600]);
        tokio::time::advance(Duration::from_mins(1)).await;
        let later = Instant::now();
        let waits: Vec<_> = (0..6).map(|_| (pace.take() - later).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 200]);
    }
}
