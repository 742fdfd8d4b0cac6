//! The URL of an external Redis, read as the gateways read it.
//!
//! `redis://[user][:password@]host[:port][/db]` and `redis+cluster://[user][:password@]host[:port][,host[:port]…]`; user and
//! password are percent-encoded, an IPv6 host stands in brackets.

use super::link::Login;
use crate::cluster::model::Hidden;

const DEFAULT_PORT: u16 = 6379;

/// A URL, read.
#[derive(Debug, Clone)]
pub struct RedisUrl {
    /// Whether it is a cluster.
    pub cluster: bool,
    /// Where to log in; for a cluster any of these will do.
    pub hosts: Vec<Login>,
}

/// Why a URL can't be used. Never shows a part of it that could be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Another scheme.
    #[error("the URL of the external Redis must start with redis:// or redis+cluster://")]
    Scheme,
    /// A scheme that comes later.
    #[error(
        "this version can't use {0}:// for the external Redis: write redis:// or redis+cluster://"
    )]
    Unsupported(&'static str),
    /// No host, or one that can't be read.
    #[error(
        "the URL of the external Redis names no host that can be read: write redis://HOST:PORT"
    )]
    Host,
    /// Several hosts where one belongs.
    #[error("the URL of the external Redis names several hosts: that is for redis+cluster://")]
    SeveralHosts,
    /// A path that is no number of a database, or one in a cluster.
    #[error(
        "the URL of the external Redis may end in /NUMBER of a database, and only with redis://"
    )]
    Database,
    /// Percent signs that encode nothing.
    #[error("user and password in the URL of the external Redis must be percent-encoded")]
    Encoding,
}

impl RedisUrl {
    /// Reads `text`; blanks and line ends around it don't count.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(UrlError::Scheme)?;
        let cluster = match scheme {
            "redis" => false,
            "redis+cluster" => true,
            "rediss" => return Err(UrlError::Unsupported("rediss")),
            "redis+sentinel" => return Err(UrlError::Unsupported("redis+sentinel")),
            _ => return Err(UrlError::Scheme),
        };
        let (user, rest) = rest
            .rsplit_once('@')
            .map_or((None, rest), |(user, rest)| (Some(user), rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let database = match path {
            "" => 0,
            number if !cluster => number
                .parse()
                .ok()
                .filter(|db| *db >= 0)
                .ok_or(UrlError::Database)?,
            _ => return Err(UrlError::Database),
        };
        let (username, password) = user.map_or(Ok((None, None)), parse_user)?;
        let hosts = hosts
            .split(',')
            .map(|host| {
                let (host, port) = parse_host(host)?;
                Ok(Login {
                    host,
                    port,
                    username: username.clone(),
                    password: password.clone(),
                    database,
                })
            })
            .collect::<Result<Vec<_>, UrlError>>()?;
        if hosts.len() > 1 && !cluster {
            return Err(UrlError::SeveralHosts);
        }
        Ok(Self { cluster, hosts })
    }
}

fn parse_user(text: &str) -> Result<(Option<String>, Option<Hidden>), UrlError> {
    let (username, password) = text
        .split_once(':')
        .map_or((text, None), |(user, password)| (user, Some(password)));
    let username = (!username.is_empty())
        .then(|| decode(username))
        .transpose()?;
    let password = password
        .filter(|password| !password.is_empty())
        .map(decode)
        .transpose()?;
    Ok((username, password.map(Hidden)))
}

fn parse_host(text: &str) -> Result<(String, u16), UrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(UrlError::Host)?;
            (
                host,
                port.strip_prefix(':')
                    .or(port.is_empty().then_some(""))
                    .ok_or(UrlError::Host)?,
            )
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let port = if port.is_empty() {
        DEFAULT_PORT
    } else {
        port.parse().map_err(|_| UrlError::Host)?
    };
    if host.is_empty() || host.contains(['?', '#', ' ']) {
        return Err(UrlError::Host);
    }
    Ok((host.to_owned(), port))
}

fn decode(text: &str) -> Result<String, UrlError> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let value = digit().zip(digit()).map(|(high, low)| high * 16 + low);
            value
                .and_then(|value| u8::try_from(value).ok())
                .ok_or(UrlError::Encoding)?
        } else {
            byte
        });
    }
    String::from_utf8(decoded).map_err(|_| UrlError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Login {
        RedisUrl::parse(text)
            .expect("the URL is good")
            .hosts
            .swap_remove(0)
    }

    #[test]
    fn user_password_port_and_database_are_read() {
        let full = host(" redis://app:p%40ss%3a@redis.example:7000/3\n");
        assert_eq!(
            (full.host.as_str(), full.port, full.database),
            ("redis.example", 7000, 3)
        );
        assert_eq!(full.username.as_deref(), Some("app"));
        assert_eq!(full.password, Some(Hidden("p@ss:".to_owned())));
        assert_eq!(host("redis://[fd00::1]").host, "fd00::1");
        assert_eq!(host("redis://:secret@h").username, None);
    }

    #[test]
    fn a_cluster_may_name_several_hosts() {
        let url = RedisUrl::parse("redis+cluster://:x@a:1,b:2,[::1]:3").expect("the URL is good");
        assert!(url.cluster);
        assert_eq!(
            url.hosts.iter().map(|host| host.port).collect::<Vec<_>>(),
            [1, 2, 3]
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_showing_the_password() {
        let refused = |text: &str| RedisUrl::parse(text).expect_err("the URL is bad");
        assert_eq!(refused("http://x"), UrlError::Scheme);
        assert_eq!(refused("secret"), UrlError::Scheme);
        assert_eq!(refused("rediss://x"), UrlError::Unsupported("rediss"));
        assert_eq!(refused("redis://a,b"), UrlError::SeveralHosts);
        assert_eq!(refused("redis://:secret@"), UrlError::Host);
        assert_eq!(refused("redis://a:secret"), UrlError::Host);
        assert_eq!(refused("redis://a/secret"), UrlError::Database);
        assert_eq!(refused("redis+cluster://a/1"), UrlError::Database);
        assert_eq!(refused("redis://:%zz@a"), UrlError::Encoding);
        assert!(!format!("{:?}", host("redis://:secret@h")).contains("secret"));
    }
}
