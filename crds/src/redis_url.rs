//! Where Redis is and how to log in: the one place that reads Redis URLs, for gateways and operator alike.
//!
//! `redis://[user][:password@]host[:port][/database]` is one server, `redis+sentinel://[user][:password@]host[:port][,…]/master name[/database]` one
//! that Sentinels watch, `redis+cluster://[user][:password@]host[:port][,…]` the seeds of a cluster; with `rediss` for `redis` all is encrypted.
//! User, password and master name are percent-decoded. Certificates (PEM) may follow the URL on lines of their own: then they alone
//! are trusted, instead of the system's. No error and no Debug text holds the password.

use std::fmt;
use std::sync::Arc;

const DEFAULT_PORT: u16 = 6379;
const DEFAULT_SENTINEL_PORT: u16 = 26379;

/// What begins the first certificate.
const PEM_BEGIN: &str = "-----BEGIN";

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// A name or an IP, without brackets.
    pub host: Arc<str>,
    /// Its port.
    pub port: u16,
}

impl Address {
    /// The address of a host and a port.
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// Reads `host:port`, as in a redirection; an IPv6 address may stand without brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(Self::new(host, port.parse().ok()?))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// How the servers work together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One server, and which of its databases.
    Standalone {
        /// Its number.
        database: i64,
    },
    /// The primary that Sentinels know by a name, and which of its databases.
    Sentinel {
        /// The name.
        master: Arc<str>,
        /// Its number.
        database: i64,
    },
    /// A Redis Cluster.
    Cluster,
}

/// Whose certificates to accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities that the system trusts.
    System,
    /// Those of the authorities in this PEM text and of nobody else.
    Only(Arc<str>),
}

/// A Redis URL, parsed.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    /// How the servers work together.
    pub mode: Mode,
    /// One server, the Sentinels, or the seeds of a cluster; never empty.
    pub addresses: Vec<Address>,
    /// The user, where it isn't the default one.
    pub username: Option<Arc<str>>,
    /// The password, where there is one.
    pub password: Option<Arc<str>>,
    /// Whom to trust, where connections are encrypted.
    pub trust: Option<Trust>,
}

/// Why a text isn't a URL of a Redis that Rotunda can use. Holds no part of it but the scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedisUrl {
    /// There is no `://`.
    #[error(
        "a Redis URL begins with redis://, redis+sentinel:// or redis+cluster://, for TLS with rediss://, rediss+sentinel:// or rediss+cluster://"
    )]
    NoScheme,
    /// Something else.
    #[error(
        "a Redis URL begins with redis://, redis+sentinel:// or redis+cluster:// (for TLS with rediss…), not with {0}://"
    )]
    Scheme(String),
    /// No host, or several where only one may be.
    #[error(
        "a redis:// URL names one host, a redis+sentinel:// or redis+cluster:// URL one or more, parted by commas; no ? or # may follow"
    )]
    Hosts,
    /// Not a number between 1 and 65535.
    #[error("the port in a Redis URL is a number between 1 and 65535")]
    Port,
    /// After the host may come only a database, and only for one server.
    #[error(
        "after the host of a redis:// URL may only come /<number of the database>, after those of a redis+cluster:// URL nothing"
    )]
    Path,
    /// The Sentinels have to be asked for something.
    #[error(
        "after the hosts of a redis+sentinel:// URL comes the name by which the Sentinels know the primary, as in redis+sentinel://host:26379/mymaster, and then perhaps /<number of the database>"
    )]
    Master,
    /// A `%` that isn't followed by two hexadecimal digits, or what they make isn't UTF-8.
    #[error(
        "the user, password or master name in the Redis URL isn't percent-encoded as it should be (write % as %25)"
    )]
    Encoding,
    /// Certificates that are none.
    #[error(
        "what follows the Redis URL isn't a certificate: put PEM blocks (BEGIN CERTIFICATE) of the authority that signed the server's there, or nothing"
    )]
    Certificate,
    /// Certificates that nobody would look at.
    #[error("certificates after a Redis URL are for rediss:// (TLS), not for {0}://")]
    NeedlessCertificate(String),
    /// There is nobody to trust.
    #[error(
        "this system has no certificates of authorities to check Redis's with: put the one that signed it behind the URL, on lines of its own"
    )]
    NoRoots,
}

impl RedisUrl {
    /// Reads a URL; white space around it (as secrets often have) doesn't count.
    pub fn parse(text: &str) -> Result<Self, InvalidRedisUrl> {
        let (text, certificates) = match text.find(PEM_BEGIN) {
            Some(at) => (&text[..at], Some(&text[at..])),
            None => (text, None),
        };
        let (scheme, rest) = text
            .trim()
            .split_once("://")
            .ok_or(InvalidRedisUrl::NoScheme)?;
        let (transport, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        if !matches!(transport, "redis" | "rediss") || !matches!(kind, "" | "sentinel" | "cluster")
        {
            return Err(InvalidRedisUrl::Scheme(scheme_only(scheme)));
        }
        // The last `@`: one in a password that wasn't encoded does no harm then.
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let (username, password) =
            match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
                Some((username, password)) => (decode(username)?, decode(password)?),
                None => (None, None),
            };
        let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
        let default_port = match kind {
            "sentinel" => DEFAULT_SENTINEL_PORT,
            _ => DEFAULT_PORT,
        };
        let addresses = hosts
            .split(',')
            .map(|host| parse_host(host, default_port))
            .collect::<Result<Vec<_>, _>>()?;
        let mode = match (kind, path) {
            ("cluster", "") => Mode::Cluster,
            ("cluster", _) => return Err(InvalidRedisUrl::Path),
            ("sentinel", path) => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                Mode::Sentinel {
                    master: decode(master)?.ok_or(InvalidRedisUrl::Master)?,
                    database: parse_database(database).ok_or(InvalidRedisUrl::Master)?,
                }
            }
            _ if addresses.len() > 1 => return Err(InvalidRedisUrl::Hosts),
            (_, path) => Mode::Standalone {
                database: parse_database(path).ok_or(InvalidRedisUrl::Path)?,
            },
        };
        let trust = match (transport, certificates) {
            ("rediss", None) => Some(Trust::System),
            ("rediss", Some(pem)) => Some(Trust::Only(pem.into())),
            (_, None) => None,
            (_, Some(_)) => return Err(InvalidRedisUrl::NeedlessCertificate(scheme.into())),
        };
        Ok(Self {
            mode,
            addresses,
            username,
            password,
            trust,
        })
    }

    /// Which database to select; 0 in a cluster, which has no other.
    pub fn database(&self) -> i64 {
        match self.mode {
            Mode::Standalone { database } | Mode::Sentinel { database, .. } => database,
            Mode::Cluster => 0,
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisUrl")
            .field("mode", &self.mode)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// What is sure to be a scheme and no secret.
fn scheme_only(text: &str) -> String {
    let fine = text.len() <= 20
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if fine { text.into() } else { "…".into() }
}

/// The number of a database; none is 0.
fn parse_database(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    text.parse::<u32>().ok().map(Into::into)
}

fn parse_host(text: &str, default_port: u16) -> Result<Address, InvalidRedisUrl> {
    let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let (host, rest) = bracketed.split_once(']').ok_or(InvalidRedisUrl::Hosts)?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(InvalidRedisUrl::Hosts),
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "?#".contains(c)) {
        return Err(InvalidRedisUrl::Hosts);
    }
    let port = match port {
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(InvalidRedisUrl::Port)?,
        None => default_port,
    };
    Ok(Address::new(host, port))
}

fn decode(text: &str) -> Result<Option<Arc<str>>, InvalidRedisUrl> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
            let (Some(high), Some(low)) = (digit(), digit()) else {
                return Err(InvalidRedisUrl::Encoding);
            };
            decoded.push(u8::try_from(high * 16 + low).map_err(|_| InvalidRedisUrl::Encoding)?);
        } else {
            decoded.push(byte);
        }
    }
    let decoded = String::from_utf8(decoded).map_err(|_| InvalidRedisUrl::Encoding)?;
    Ok(Some(decoded.into()))
}

#[cfg(test)]
mod tests;
