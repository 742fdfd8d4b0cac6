//! First stage: reads everything that a RealtimeCluster names, and what it needs to know about its own objects. Nothing is
//! judged here: a Secret that doesn't exist is simply absent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, ResourceExt};
use rotunda_crds::{
    GatewayConfig, RealtimeCluster, Room,
    config::{decode_gzip, files, secret_files},
    realtime_cluster::RedisMode,
};

use super::{
    Error, admission,
    build::{labels, names},
    model::Hidden,
};
use crate::{
    context::{Context, is_paused},
    key::Key,
};

/// What a cluster names, and what is known about its objects.
#[derive(Debug, Clone)]
pub struct Dereferenced {
    /// The resource itself.
    pub cluster: Arc<RealtimeCluster>,
    /// The Secrets that the spec names; `None` for one that doesn't exist.
    pub secrets: BTreeMap<String, Option<NamedSecret>>,
    /// The generated Secret with the password of the managed Redis, once it exists.
    pub redis_secret: Option<NamedSecret>,
    /// A password to be used while there is none.
    pub fresh_password: Hidden,
    /// The Rooms that name this cluster, may do so, and aren't being deleted.
    pub rooms: Vec<Room>,
    /// Rooms among them that the user paused: they keep the policy in force.
    pub paused_rooms: BTreeSet<Key>,
    /// The config in force.
    pub previous: Option<Arc<GatewayConfig>>,
    /// Numbers of the shards that exist.
    pub existing_shards: Vec<u32>,
    /// Whether every Redis replica was in sync when last looked at.
    pub replicas_in_sync: bool,
}

/// A Secret as far as we use it. `Debug` shows the names of its entries only.
#[derive(Clone, PartialEq, Eq)]
pub struct NamedSecret {
    /// UID and resource version: together they name one content, without telling anything about it.
    pub version: String,
    /// Its entries.
    pub entries: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for NamedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedSecret")
            .field("version", &self.version)
            .field("entries", &self.entries.keys())
            .finish()
    }
}

impl From<Secret> for NamedSecret {
    fn from(secret: Secret) -> Self {
        let uid = secret.uid().unwrap_or_default();
        let version = secret.resource_version().unwrap_or_default();
        let entries = secret.data.unwrap_or_default();
        Self {
            version: format!("{uid}/{version}"),
            entries: entries
                .into_iter()
                .map(|(name, bytes)| (name, bytes.0))
                .collect(),
        }
    }
}

/// Names of all Secrets that a cluster's spec names.
pub fn secret_names(cluster: &RealtimeCluster) -> BTreeSet<String> {
    let api_keys = cluster
        .spec
        .auth
        .api_keys_secret_ref
        .as_ref()
        .map(|reference| reference.name.clone());
    secret_files(cluster)
        .into_iter()
        .map(|file| file.secret)
        .chain(api_keys)
        .collect()
}

/// Reads what `cluster` names.
pub async fn dereference(
    ctx: &Context,
    cluster: Arc<RealtimeCluster>,
) -> Result<Dereferenced, Error> {
    let key = Key::of(cluster.as_ref());
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), &key.namespace);
    let fetch = async |name: String| -> Result<(String, Option<NamedSecret>), Error> {
        let found = secrets.get_opt(&name).await.map_err(|source| Error::Read {
            kind: "Secret",
            name: name.clone(),
            source,
        })?;
        Ok((name, found.map(NamedSecret::from)))
    };
    let named = try_join_all(secret_names(&cluster).into_iter().map(&fetch));
    let generated = async {
        match cluster.spec.redis_mode() {
            RedisMode::Managed(_) => Ok(fetch(names::redis(&key.name)).await?.1),
            RedisMode::External(_) => Ok(None),
        }
    };
    let (named, redis_secret, previous) =
        futures::try_join!(named, generated, fetch_previous(ctx, &key))?;
    let rooms = rooms(ctx, &cluster, &key);
    Ok(Dereferenced {
        secrets: named.into_iter().collect(),
        redis_secret,
        fresh_password: Hidden(draw_password()),
        paused_rooms: rooms
            .iter()
            .filter(|room| is_paused(*room))
            .map(Key::of)
            .collect(),
        rooms,
        previous,
        existing_shards: existing_shards(ctx, &key),
        replicas_in_sync: ctx
            .redis
            .lock()
            .get(&key)
            .is_some_and(|redis| redis.replicas_in_sync),
        cluster,
    })
}

/// The config in force: as remembered, or after a start of the operator as it stands in the ConfigMap. One that can't be
/// read any more is none.
async fn fetch_previous(ctx: &Context, key: &Key) -> Result<Option<Arc<GatewayConfig>>, Error> {
    if let Some(config) = ctx.configs.lock().get(key) {
        return Ok(Some(config.clone()));
    }
    let name = names::gateway(&key.name);
    let api: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &key.namespace);
    let found = api.get_opt(&name).await.map_err(|source| Error::Read {
        kind: "ConfigMap",
        name,
        source,
    })?;
    let bytes = found
        .and_then(|map| map.binary_data)
        .and_then(|mut data| data.remove(files::CONFIG_FILE));
    Ok(bytes
        .and_then(|bytes| decode_gzip(&bytes.0).ok())
        .map(Arc::new))
}

fn rooms(ctx: &Context, cluster: &RealtimeCluster, key: &Key) -> Vec<Room> {
    ctx.stores
        .rooms_of(key)
        .into_iter()
        .filter(|room| room.metadata.deletion_timestamp.is_none())
        .filter(|room| admission::admits(cluster, room.namespace(), &ctx.stores))
        .map(|room| room.as_ref().clone())
        .collect()
}

fn existing_shards(ctx: &Context, key: &Key) -> Vec<u32> {
    let mut shards: Vec<u32> = ctx
        .stores
        .children(&ctx.stores.stateful_sets, key)
        .iter()
        .filter_map(|set| {
            let by_label = set
                .labels()
                .get(labels::SHARD)
                .and_then(|shard| shard.parse().ok());
            by_label.or_else(|| {
                set.name_any()
                    .strip_prefix(&format!("{}-", names::redis(&key.name)))?
                    .parse()
                    .ok()
            })
        })
        .collect();
    shards.sort_unstable();
    shards.dedup();
    shards
}

/// 160 bits in letters and digits, which need no escaping in a URL or in `redis.conf`.
fn draw_password() -> String {
    use rand::{Rng, distr::Alphanumeric};
    rand::rng()
        .sample_iter(Alphanumeric)
        .take(27)
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_never_shows_content_of_a_secret() {
        let secret = NamedSecret {
            version: "u/1".into(),
            entries: BTreeMap::from([("key".into(), b"hunter2".to_vec())]),
        };
        assert_eq!(
            format!("{secret:?}"),
            r#"NamedSecret { version: "u/1", entries: ["key"] }"#
        );
        assert!(!format!("{:?}", Hidden("hunter2".into())).contains("hunter2"));
    }

    #[test]
    fn passwords_are_long_and_differ() {
        let (one, two) = (draw_password(), draw_password());
        assert_eq!(one.len(), 27);
        assert!(one.chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(one, two);
    }
}
