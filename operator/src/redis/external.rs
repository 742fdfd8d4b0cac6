//! Asks somebody else's Redis whether it is there, lets the gateways in, and is new enough. Says what to check where not.

use std::time::Duration;

use redis::{RedisError, aio::MultiplexedConnection, cmd};
use rotunda_crds::redis_url::{Mode, RedisUrl};

use super::{
    link::{Error, Login, describe},
    observe::value,
    primaries,
};
use crate::cluster::model::{Problem, RedisStatus, Verdict};

/// The gateways need sharded pub/sub, which came with this version; Valkey counts from 7.2.
const OLDEST_MAJOR: u64 = 7;
/// How often to look while it isn't as it should be.
const WHILE_BROKEN: Duration = Duration::from_secs(5);
/// Time for everything.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Whether the Redis behind `url` can be used.
pub async fn check(url: &RedisUrl) -> RedisStatus {
    let asked = tokio::time::timeout(TIMEOUT, ask(url)).await;
    let ready = match asked {
        Ok(Ok(message)) => Verdict::Yes(Problem {
            reason: "Ready",
            message,
        }),
        Ok(Err(problem)) => Verdict::No(problem),
        Err(_) => Verdict::No(unreachable("it doesn't answer in time")),
    };
    let look_again = (!matches!(ready, Verdict::Yes(_))).then_some(WHILE_BROKEN);
    RedisStatus {
        shards: 0,
        ready_shards: 0,
        ready,
        degraded: None,
        replicas_in_sync: true,
        look_again,
        events: Vec::new(),
    }
}

/// What is good to know about it, or what is wrong with it.
async fn ask(url: &RedisUrl) -> Result<String, Problem> {
    let mut connection = connect(url).await?;
    cmd("PING")
        .query_async::<()>(&mut connection)
        .await
        .map_err(|error| refused("PING", &error))?;
    let server: String = info(&mut connection, "server").await?;
    let version = value(&server, "redis_version")
        .unwrap_or("of unknown version")
        .to_owned();
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u64>().ok());
    if major.is_none_or(|major| major < OLDEST_MAJOR) {
        return Err(Problem {
            reason: "RedisTooOld",
            message: format!("the external Redis is {version}: use Redis 7.0 or newer, or Valkey"),
        });
    }
    let cluster = info(&mut connection, "cluster").await?;
    let is_cluster = value(&cluster, "cluster_enabled") == Some("1");
    check_mode(&url.mode, is_cluster)?;
    let mut good = format!("the external Redis {version} answers");
    if is_cluster && !serves_all_slots(&mut connection).await? {
        good.push_str(
            "; whether it serves all slots isn't known, since its user may not run CLUSTER INFO",
        );
    }
    Ok(good)
}

/// False if the user may not ask.
async fn serves_all_slots(connection: &mut MultiplexedConnection) -> Result<bool, Problem> {
    let state: Result<String, RedisError> =
        cmd("CLUSTER").arg("INFO").query_async(connection).await;
    match state {
        Ok(state) if value(&state, "cluster_state") == Some("ok") => Ok(true),
        Ok(_) => Err(Problem {
            reason: "RedisClusterDown",
            message:
                "the external Redis cluster says that it can't serve (CLUSTER INFO: cluster_state)"
                    .to_owned(),
        }),
        Err(error) if error.code() == Some("NOPERM") => Ok(false),
        Err(error) => Err(refused("CLUSTER INFO", &error)),
    }
}

/// To the primary, or to any node of a cluster.
async fn connect(url: &RedisUrl) -> Result<MultiplexedConnection, Problem> {
    let logins = match url.mode {
        Mode::Standalone { .. } | Mode::Cluster => Login::all_of(url),
        Mode::Sentinel { .. } => primaries::find(url)
            .await
            .map_err(|error| no_primary(&error))?,
    };
    let mut last = None;
    for login in &logins {
        match login.connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = Some(cannot_connect(login, &error)),
        }
    }
    Err(last.unwrap_or_else(|| unreachable("its URL names no host")))
}

/// What Sentinels say instead of a primary.
fn no_primary(error: &Error) -> Problem {
    let (Error::Unreachable { pod, source } | Error::Refused { pod, source, .. }) = error else {
        return unreachable(&error.to_string());
    };
    let detail = source.detail().unwrap_or_default();
    if detail.contains("No such master") {
        return unreachable(&format!(
            "the Sentinel at {pod} knows no primary by the name at the end of the URL"
        ));
    }
    if detail.contains("unknown command") {
        return unreachable(&format!("{pod} is no Sentinel"));
    }
    unreachable(&format!("the Sentinel at {pod}: {}", describe(source)))
}

async fn info(
    connection: &mut MultiplexedConnection,
    section: &'static str,
) -> Result<String, Problem> {
    cmd("INFO")
        .arg(section)
        .query_async(connection)
        .await
        .map_err(|error| refused("INFO", &error))
}

fn check_mode(mode: &Mode, is_cluster: bool) -> Result<(), Problem> {
    let message = match (*mode == Mode::Cluster, is_cluster) {
        (true, false) => "the external Redis isn't a cluster: leave out +cluster in its URL",
        (false, true) => {
            "the external Redis is a cluster: its URL has to begin with redis+cluster:// (or rediss+cluster://)"
        }
        (true, true) | (false, false) => return Ok(()),
    };
    Err(Problem {
        reason: "RedisModeMismatch",
        message: message.to_owned(),
    })
}

fn cannot_connect(host: &Login, error: &RedisError) -> Problem {
    let why = describe(error);
    if why == "it refuses the password" {
        return Problem {
            reason: "RedisLoginRefused",
            message: format!(
                "the external Redis at {}:{} refuses the login: check user and password in the URL of its Secret",
                host.host, host.port
            ),
        };
    }
    unreachable(&format!("{}:{}: {why}", host.host, host.port))
}

fn unreachable(why: &str) -> Problem {
    Problem {
        reason: "RedisUnreachable",
        message: format!(
            "the external Redis can't be reached ({why}): check host and port in its URL, and network policies"
        ),
    }
}

fn refused(command: &str, error: &RedisError) -> Problem {
    if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) {
        return Problem {
            reason: "RedisLoginRefused",
            message: "the external Redis asks for a login: put user and password into the URL of its Secret".to_owned(),
        };
    }
    if error.code() == Some("NOPERM") {
        return Problem {
            reason: "RedisLoginRefused",
            message: format!(
                "the user of the external Redis may not run {command}: extend its ACL"
            ),
        };
    }
    unreachable(&format!("{command}: {}", describe(error)))
}
