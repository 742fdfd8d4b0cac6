//! Which servers hold the keys of a Redis, by its URL: the one it names, the one that Sentinels name, or the primaries of a cluster.

use std::collections::{BTreeSet, HashMap};

use futures::future::join_all;
use redis::{ErrorKind, RedisError, Value, cmd, from_redis_value};
use rotunda_crds::redis_url::{Mode, RedisUrl};

use super::link::{Error, Login};

/// Every server that holds keys of its own.
pub(super) async fn find(url: &RedisUrl) -> Result<Vec<Login>, Error> {
    match &url.mode {
        Mode::Standalone { .. } => Ok(Login::all_of(url)),
        Mode::Sentinel { master, .. } => Ok(vec![named_by_sentinels(url, master).await?]),
        Mode::Cluster => of_cluster(&Login::all_of(url)).await,
    }
}

/// The primary that most recently became so, as far as a Sentinel answers: one that was cut off goes on naming the past.
async fn named_by_sentinels(url: &RedisUrl, master: &str) -> Result<Login, Error> {
    let sentinels = Login::all_of(url);
    let answers = join_all(
        sentinels
            .iter()
            .map(|sentinel| ask_sentinel(sentinel, master)),
    )
    .await;
    let (mut newest, mut error) = (None, None);
    for answer in answers {
        match answer {
            Ok((config_epoch, login)) => match &newest {
                Some((newest, _)) if *newest >= config_epoch => {}
                _ => newest = Some((config_epoch, login)),
            },
            Err(failure) => error = Some(failure),
        }
    }
    match (newest, error) {
        (Some((_, login)), _) => Ok(login),
        (None, Some(error)) => Err(error),
        (None, None) => Err(nowhere(
            master,
            "SENTINEL MASTER",
            "there is no Sentinel to ask",
        )),
    }
}

/// Whom a Sentinel takes for the primary, and by which configuration.
async fn ask_sentinel(sentinel: &Login, master: &str) -> Result<(u64, Login), Error> {
    let failed = |source| Error::of(&sentinel.host, "SENTINEL MASTER", source);
    // Sentinels have no databases, and often no users either.
    let offered = Login {
        database: 0,
        ..sentinel.clone()
    };
    let connected = match offered.connect().await {
        Err(error) if error.kind() == ErrorKind::AuthenticationFailed => {
            let nobody = Login {
                username: None,
                password: None,
                ..offered
            };
            nobody.connect().await
        }
        connected => connected,
    };
    let mut connection = connected.map_err(failed)?;
    let fields: HashMap<String, String> = cmd("SENTINEL")
        .arg("MASTER")
        .arg(master)
        .query_async(&mut connection)
        .await
        .map_err(failed)?;
    let number = |name: &str| fields.get(name)?.parse::<u64>().ok();
    let port = number("port").and_then(|port| u16::try_from(port).ok());
    match (fields.get("ip"), port, number("config-epoch")) {
        (Some(host), Some(port), Some(config_epoch)) => {
            let primary = Login {
                host: host.clone(),
                port,
                ..sentinel.clone()
            };
            Ok((config_epoch, primary))
        }
        _ => Err(nowhere(
            &sentinel.host,
            "SENTINEL MASTER",
            "the answer names no primary",
        )),
    }
}

async fn of_cluster(seeds: &[Login]) -> Result<Vec<Login>, Error> {
    let mut last = None;
    for seed in seeds {
        match read_slots(seed).await {
            Ok(primaries) => return Ok(primaries),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| nowhere("the cluster", "CLUSTER SLOTS", "there is no host to ask")))
}

async fn read_slots(seed: &Login) -> Result<Vec<Login>, Error> {
    const NAME: &str = "CLUSTER SLOTS";
    let failed = |source| Error::of(&seed.host, NAME, source);
    let mut connection = seed.connect().await.map_err(failed)?;
    let ranges: Vec<Vec<Value>> = cmd("CLUSTER")
        .arg("SLOTS")
        .query_async(&mut connection)
        .await
        .map_err(failed)?;
    let addresses = ranges.iter().map(|range| owner(range, seed));
    let addresses: Option<BTreeSet<(String, u16)>> = addresses.collect();
    let addresses =
        addresses.ok_or_else(|| nowhere(&seed.host, NAME, "a primary has no address"))?;
    Ok(addresses
        .into_iter()
        .map(|(host, port)| Login {
            host,
            port,
            ..seed.clone()
        })
        .collect())
}

/// The primary in `[first slot, last slot, [host, port, …], replicas…]`; no host means the one that was asked, `?` that nobody knows.
fn owner(range: &[Value], asked: &Login) -> Option<(String, u16)> {
    let Value::Array(primary) = range.get(2)? else {
        return None;
    };
    let host: Option<String> = from_redis_value(primary.first()?.clone()).ok()?;
    // Not as `u16`: the library would cut off what is too much.
    let port: i64 = from_redis_value(primary.get(1)?.clone()).ok()?;
    let port = u16::try_from(port).ok()?;
    match host.as_deref() {
        None | Some("") => Some((asked.host.clone(), port)),
        Some("?") => None,
        Some(host) => Some((host.to_owned(), port)),
    }
}

fn nowhere(host: &str, command: &'static str, why: &'static str) -> Error {
    let source = RedisError::from((ErrorKind::UnexpectedReturnType, why));
    Error::of(host, command, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_range_is_read_and_never_guessed() {
        let url = RedisUrl::parse("redis+cluster://seed:7000").expect("the URL is good");
        let asked = &Login::all_of(&url)[0];
        let range = |host: Value, port: i64| {
            let primary = Value::Array(vec![host, Value::Int(port)]);
            vec![Value::Int(0), Value::Int(16383), primary]
        };
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let at = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(owner(&range(text("h"), 1), asked), at("h", 1));
        assert_eq!(owner(&range(text(""), 1), asked), at("seed", 1));
        assert_eq!(owner(&range(Value::Nil, 1), asked), at("seed", 1));
        assert_eq!(owner(&range(text("?"), 1), asked), None);
        assert_eq!(owner(&range(text("h"), 70000), asked), None);
        assert_eq!(owner(&[], asked), None);
    }
}
