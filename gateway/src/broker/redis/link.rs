//! One multiplexed connection to a server and the task that drives it; how to log in, and what errors say.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::socket::Socket;
use super::url::{Address, RedisUrl};

/// How long a connection may take to come about.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an answer may take. Past it nothing is known of what was asked.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many calls may wait for their turn to be written to the socket; past it, callers wait for a place.
const WRITE_QUEUE: usize = 1024;

/// Whether a login is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// The URL's user, password and database.
    Full,
    /// The URL's user and password: Sentinels have no databases.
    NoDatabase,
    /// None at all.
    Nobody,
}

/// See the module.
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    pub(super) lost: CancellationToken,
    /// Ends the task.
    _driver: DropGuard,
}

/// Why there is no connection: a sentence without secrets.
#[derive(Debug)]
pub(super) struct NoLink {
    pub(super) why: String,
    /// It was the user or the password.
    pub(super) refused: bool,
}

impl Link {
    /// Connects and logs in.
    pub(super) async fn open(
        address: &Address,
        url: &RedisUrl,
        login: Login,
        tasks: &TaskTracker,
    ) -> Result<Self, NoLink> {
        let opened = Self::open_at_leisure(address, url, login, tasks);
        match tokio::time::timeout(CONNECT_TIMEOUT, opened).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(no_link)) => Err(NoLink {
                why: format!("{address}: {}", no_link.why),
                ..no_link
            }),
            Err(_) => Err(NoLink {
                why: format!("{address}: no answer in {CONNECT_TIMEOUT:?}"),
                refused: false,
            }),
        }
    }

    async fn open_at_leisure(
        address: &Address,
        url: &RedisUrl,
        login: Login,
        tasks: &TaskTracker,
    ) -> Result<Self, NoLink> {
        let opened = Socket::open(address, url.tls.as_ref()).await;
        let socket = opened.map_err(|why| NoLink {
            why,
            refused: false,
        })?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(RESPONSE_TIMEOUT))
            .set_pipeline_buffer_size(WRITE_QUEUE);
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&login.info(url), socket, config)
                .await
                .map_err(|error| NoLink {
                    why: describe(&error),
                    refused: error.kind() == ErrorKind::AuthenticationFailed,
                })?;
        let (lost, stop) = (CancellationToken::new(), CancellationToken::new());
        tasks.spawn({
            let (lost, stop) = (lost.clone(), stop.clone());
            async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = driver => {}
                }
                lost.cancel();
            }
        });
        Ok(Self {
            connection,
            lost,
            _driver: stop.drop_guard(),
        })
    }
}

impl Login {
    fn info(self, url: &RedisUrl) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP2)
            .set_skip_set_lib_name();
        if self == Self::Nobody {
            return info;
        }
        if let Some(username) = &url.username {
            info = info.set_username(username);
        }
        if let Some(password) = &url.password {
            info = info.set_password(password);
        }
        if self == Self::Full {
            info = info.set_db(url.database);
        }
        info
    }
}

/// What went wrong, without anything of what was sent.
pub(super) fn describe(error: &RedisError) -> String {
    match error.kind() {
        ErrorKind::AuthenticationFailed => "the user or the password was refused".into(),
        _ if error.is_timeout() => "no answer in time".into(),
        _ if error.is_io_error() || error.is_connection_dropped() => "the connection broke".into(),
        _ => match error.code() {
            Some("NOAUTH") => "it wants a password".into(),
            Some("WRONGPASS") => "the user or the password was refused".into(),
            Some("NOPERM") => forbidden(error.detail().unwrap_or_default()),
            Some(code) => format!("it answered {code}"),
            None => error.category().to_owned(),
        },
    }
}

/// What Redis says of a user who may not, which names the command, and what to do about it.
pub(super) fn forbidden(details: &str) -> String {
    format!(
        "Redis's ACL forbids what Rotunda needs ({details}): give the user the rules in docs/operations.md"
    )
}
