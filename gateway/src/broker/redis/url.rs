//! Where Redis is and how to log in: the one place that reads Redis URLs.
//!
//! `redis://[user][:password@]host[:port][/database]` is one server, `redis+cluster://[user][:password@]host[:port][,host[:port]…]` the
//! seeds of a cluster. User and password are percent-decoded. No error and no Debug text holds the password.

use std::fmt;
use std::sync::Arc;

const DEFAULT_PORT: u16 = 6379;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Address {
    pub(super) host: Arc<str>,
    pub(super) port: u16,
}

impl Address {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// Reads `host:port`, as in a redirection; an IPv6 address may stand without brackets.
    pub(super) fn parse(text: &str) -> Option<Self> {
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
pub(super) enum Mode {
    /// One server, and which of its databases.
    Standalone { database: i64 },
    /// A Redis Cluster.
    Cluster,
}

/// A Redis URL, parsed.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub(super) mode: Mode,
    /// One server, or the seeds of a cluster; never empty.
    pub(super) addresses: Vec<Address>,
    pub(super) username: Option<Arc<str>>,
    pub(super) password: Option<Arc<str>>,
}

/// Why a text isn't a URL of a Redis that Rotunda can use. Holds no part of it but the scheme.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedisUrl {
    /// There is no `://`.
    #[error("a Redis URL begins with redis:// or redis+cluster://")]
    NoScheme,
    /// TLS.
    #[error("{0}:// (TLS) isn't supported yet, use redis:// or redis+cluster://")]
    Tls(String),
    /// Sentinel.
    #[error("redis+sentinel:// isn't supported yet, use redis:// or redis+cluster://")]
    Sentinel,
    /// Something else.
    #[error("a Redis URL begins with redis:// or redis+cluster://, not with {0}://")]
    Scheme(String),
    /// No host, or several where only one may be.
    #[error("a redis:// URL names one host, a redis+cluster:// URL one or more, parted by commas")]
    Hosts,
    /// Not a number between 1 and 65535.
    #[error("the port in a Redis URL is a number between 1 and 65535")]
    Port,
    /// After the host may come only a database, and only for one server.
    #[error(
        "after the host of a redis:// URL may only come /<number of the database>, after those of a redis+cluster:// URL nothing"
    )]
    Path,
    /// A `%` that isn't followed by two hexadecimal digits, or what they make isn't UTF-8.
    #[error(
        "the user or password in the Redis URL isn't percent-encoded as it should be (write % as %25)"
    )]
    Encoding,
}

impl RedisUrl {
    /// Reads a URL; white space around it (as secrets often have) doesn't count.
    pub fn parse(text: &str) -> Result<Self, InvalidRedisUrl> {
        let (scheme, rest) = text
            .trim()
            .split_once("://")
            .ok_or(InvalidRedisUrl::NoScheme)?;
        let cluster = match scheme {
            "redis" => false,
            "redis+cluster" => true,
            "rediss" | "rediss+cluster" => return Err(InvalidRedisUrl::Tls(scheme.into())),
            "redis+sentinel" | "rediss+sentinel" => return Err(InvalidRedisUrl::Sentinel),
            other => return Err(InvalidRedisUrl::Scheme(scheme_only(other))),
        };
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
        let (hosts, path) = match place.split_once('/') {
            Some((hosts, path)) => (hosts, path),
            None => (place, ""),
        };
        let addresses = hosts
            .split(',')
            .map(parse_host)
            .collect::<Result<Vec<_>, _>>()?;
        let mode = match (cluster, path) {
            (true, "") => Mode::Cluster,
            (true, _) => return Err(InvalidRedisUrl::Path),
            (false, _) if addresses.len() > 1 => return Err(InvalidRedisUrl::Hosts),
            (false, "") => Mode::Standalone { database: 0 },
            (false, path) => Mode::Standalone {
                database: path
                    .parse::<u32>()
                    .map_err(|_| InvalidRedisUrl::Path)?
                    .into(),
            },
        };
        Ok(Self {
            mode,
            addresses,
            username,
            password,
        })
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

fn parse_host(text: &str) -> Result<Address, InvalidRedisUrl> {
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
        None => DEFAULT_PORT,
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
mod tests {
    use super::*;

    fn parse(text: &str) -> RedisUrl {
        RedisUrl::parse(text).expect(text)
    }

    #[test]
    fn a_url_may_name_as_little_as_a_host() {
        let url = parse("redis://localhost");
        assert_eq!(url.mode, Mode::Standalone { database: 0 });
        assert_eq!(url.addresses, [Address::new("localhost", 6379)]);
        assert_eq!((url.username, url.password), (None, None));
    }

    #[test]
    fn a_url_may_hold_user_password_port_and_database() {
        let url = parse(" redis://al%40ce:p%3a%2Fs@s@[::1]:7000/3\n");
        assert_eq!(url.mode, Mode::Standalone { database: 3 });
        assert_eq!(url.addresses, [Address::new("::1", 7000)]);
        assert_eq!(url.username.as_deref(), Some("al@ce"));
        assert_eq!(url.password.as_deref(), Some("p:/s@s"));
    }

    #[test]
    fn a_cluster_may_have_several_seeds() {
        let url = parse("redis+cluster://:secret@a,b:7001,[fe80::1]");
        assert_eq!(url.mode, Mode::Cluster);
        let seeds = [
            Address::new("a", 6379),
            Address::new("b", 7001),
            Address::new("fe80::1", 6379),
        ];
        assert_eq!(url.addresses, seeds);
        assert_eq!(url.username, None);
        assert_eq!(url.password.as_deref(), Some("secret"));
    }

    #[test]
    fn what_cant_be_used_is_refused_with_a_sentence_without_the_secret() {
        let cases = [
            ("", InvalidRedisUrl::NoScheme),
            ("redis:secret@h", InvalidRedisUrl::NoScheme),
            ("rediss://:secret@h", InvalidRedisUrl::Tls("rediss".into())),
            ("redis+sentinel://:secret@h", InvalidRedisUrl::Sentinel),
            ("http://:secret@h", InvalidRedisUrl::Scheme("http".into())),
            ("secret secret://h", InvalidRedisUrl::Scheme("…".into())),
            ("redis://:secret@", InvalidRedisUrl::Hosts),
            ("redis://:secret@a,b", InvalidRedisUrl::Hosts),
            ("redis://:secret@h?x=1", InvalidRedisUrl::Hosts),
            ("redis://:secret@h:0", InvalidRedisUrl::Port),
            ("redis://:secret@h:x", InvalidRedisUrl::Port),
            ("redis://:secret@h/one", InvalidRedisUrl::Path),
            ("redis+cluster://:secret@h/1", InvalidRedisUrl::Path),
            ("redis://:secret%zz@h", InvalidRedisUrl::Encoding),
            ("redis://:secret%ff@h", InvalidRedisUrl::Encoding),
        ];
        for (text, expected) in cases {
            let error = RedisUrl::parse(text).expect_err(text);
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn debug_keeps_the_password_to_itself() {
        let text = format!("{:?}", parse("redis://alice:secret@h"));
        assert!(!text.contains("secret"), "{text}");
    }

    #[test]
    fn redirections_name_addresses() {
        assert_eq!(
            Address::parse("10.0.0.1:6379"),
            Some(Address::new("10.0.0.1", 6379))
        );
        assert_eq!(
            Address::parse("fe80::1:6379"),
            Some(Address::new("fe80::1", 6379))
        );
        assert_eq!(
            Address::parse("fe80::1:6379")
                .map(|a| a.to_string())
                .as_deref(),
            Some("[fe80::1]:6379")
        );
        assert_eq!(Address::parse("nonsense"), None);
    }
}
