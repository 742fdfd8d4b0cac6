//! Connections to single Redis nodes. Each one is checked to lead where it should before anything is done through it: an
//! IP may have passed to another pod, even one of another cluster.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue,
    IntoConnectionInfo, RedisConnectionInfo, RedisError, TlsCertificates,
    aio::MultiplexedConnection,
};
use rotunda_crds::redis_url::{RedisUrl, Trust};

use super::{
    nodes::ParseError,
    topology::{Address, Identity},
};
use crate::cluster::model::Hidden;

/// Time to connect, and time for each answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What goes wrong with a Redis.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error("{pod} doesn't answer: {source}")]
    Unreachable {
        /// The pod or host.
        pod: String,
        /// Why.
        #[source]
        source: RedisError,
    },
    /// Whoever answers isn't the pod or node that was meant.
    #[error("the address of pod {pod} leads to another node")]
    Stranger {
        /// The pod that was meant.
        pod: String,
    },
    /// A command was answered by an error.
    #[error("{pod} refused {command}: {source}")]
    Refused {
        /// The pod or host.
        pod: String,
        /// The command, without its arguments.
        command: &'static str,
        /// The answer.
        #[source]
        source: RedisError,
    },
    /// An answer can't be read.
    #[error("{pod} gave an answer that can't be read: {source}")]
    Unreadable {
        /// The pod or host.
        pod: String,
        /// Why.
        #[source]
        source: ParseError,
    },
}

impl Error {
    /// A word for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "RedisUnreachable",
            Self::Stranger { .. } => "RedisPodChanged",
            Self::Refused { .. } => "RedisCommandRefused",
            Self::Unreadable { .. } => "RedisAnswerUnreadable",
        }
    }

    /// An error of `command` at `pod`: no answer, or an unwelcome one.
    pub(super) fn of(pod: &str, command: &'static str, source: RedisError) -> Self {
        let lost = source.is_io_error() || source.is_timeout() || source.is_connection_dropped();
        let pod = pod.to_owned();
        if lost {
            Self::Unreachable { pod, source }
        } else {
            Self::Refused {
                pod,
                command,
                source,
            }
        }
    }
}

/// Name of a node in error messages, and how to log in to it.
#[derive(Debug, Clone)]
pub struct Login {
    /// Host name or IP.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Name of the user, where there is one.
    pub username: Option<String>,
    /// Password, where there is one.
    pub password: Option<Hidden>,
    /// Number of the database; 0 in a cluster.
    pub database: i64,
    /// Whom to trust, where connections are encrypted.
    pub trust: Option<Trust>,
}

impl Login {
    /// To a node of a managed Redis.
    pub fn managed(at: Address, password: &Hidden) -> Self {
        Self {
            host: at.client.ip().to_string(),
            port: at.client.port(),
            username: None,
            password: Some(password.clone()),
            database: 0,
            trust: None,
        }
    }

    /// To every address of a URL.
    pub fn all_of(url: &RedisUrl) -> Vec<Self> {
        let password = url.password.as_deref();
        let password = password.map(|password| Hidden(password.to_owned()));
        let login = |address: &rotunda_crds::redis_url::Address| Self {
            host: address.host.to_string(),
            port: address.port,
            username: url.username.as_deref().map(str::to_owned),
            password: password.clone(),
            database: url.database(),
            trust: url.trust.clone(),
        };
        url.addresses.iter().map(login).collect()
    }

    /// Logs in.
    pub async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let mut settings = RedisConnectionInfo::default()
            .set_db(self.database)
            .set_skip_set_lib_name();
        if let Some(username) = &self.username {
            settings = settings.set_username(username);
        }
        if let Some(Hidden(password)) = &self.password {
            settings = settings.set_password(password);
        }
        let (host, port) = (self.host.clone(), self.port);
        let client = match &self.trust {
            None => {
                let address = ConnectionAddr::Tcp(host, port).into_connection_info()?;
                Client::open(address.set_redis_settings(settings))?
            }
            Some(trust) => {
                let address = ConnectionAddr::TcpTls {
                    host,
                    port,
                    insecure: false,
                    tls_params: None,
                };
                let address = address.into_connection_info()?;
                let certificates = TlsCertificates {
                    client_tls: None,
                    root_cert: match trust {
                        Trust::System => None,
                        Trust::Only(pem) => Some(pem.as_bytes().to_vec()),
                    },
                };
                Client::build_with_tls(address.set_redis_settings(settings), certificates)?
            }
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT));
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
    }
}

/// A connection to one node of a managed Redis, checked to be the pod and the node it should be.
pub(super) struct Link<'a> {
    to: &'a Identity,
    connection: MultiplexedConnection,
}

impl<'a> Link<'a> {
    /// Logs in to `to` and checks that it is who it was.
    pub(super) async fn open(to: &'a Identity, password: &Hidden) -> Result<Self, Error> {
        let pod = &to.pod.name;
        let failed = |source| Error::Unreachable {
            pod: pod.clone(),
            source,
        };
        let connection = Login::managed(to.at, password)
            .connect()
            .await
            .map_err(failed)?;
        let mut link = Self { to, connection };
        let id: String = link
            .ask("CLUSTER MYID", redis::cmd("CLUSTER").arg("MYID"))
            .await?;
        let pid_file: Vec<String> = link
            .ask("CONFIG GET", redis::cmd("CONFIG").arg("GET").arg("pidfile"))
            .await?;
        if id == to.id.0 && names_pod(&pid_file, &to.pod.uid) {
            Ok(link)
        } else {
            Err(Error::Stranger { pod: pod.clone() })
        }
    }

    /// Sends a command; `name` is what an error calls it.
    pub(super) async fn ask<T: FromRedisValue>(
        &mut self,
        name: &'static str,
        command: &Cmd,
    ) -> Result<T, Error> {
        command
            .query_async(&mut self.connection)
            .await
            .map_err(|source| Error::of(&self.to.pod.name, name, source))
    }
}

/// Whether the answer of `CONFIG GET pidfile` names the pod: `start.sh` puts the pod's UID there.
pub(super) fn names_pod(pid_file: &[String], uid: &str) -> bool {
    let file = pid_file.get(1).map_or("", String::as_str);
    let stem = file
        .rsplit('/')
        .next()
        .and_then(|name| name.strip_suffix(".pid"));
    stem == Some(uid)
}

/// In words, without the noise of the library: what a person has to look at.
pub(super) fn describe(error: &RedisError) -> String {
    if error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"))
    {
        "it refuses the password".to_owned()
    } else if error.is_connection_refusal() {
        "the connection is refused".to_owned()
    } else if error.is_timeout() {
        "it doesn't answer in time".to_owned()
    } else if error.to_string().contains("invalid peer certificate") {
        format!("its certificate isn't trusted ({error}): put the authority's behind the URL")
    } else if error.code() == Some("LOADING") {
        "it is loading its data".to_owned()
    } else {
        error.to_string()
    }
}
