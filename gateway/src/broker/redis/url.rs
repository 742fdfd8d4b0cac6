//! A Redis URL that connections can be made by: as it was read, with the certificates it trusts made ready.

use std::fmt;
use std::sync::Arc;

use rotunda_crds::redis_url;
pub use rotunda_crds::redis_url::InvalidRedisUrl;
pub(super) use rotunda_crds::redis_url::{Address, Mode};

use super::socket::Tls;

/// See the module.
#[derive(Clone)]
pub struct RedisUrl {
    pub(super) mode: Mode,
    /// One server, the Sentinels, or the seeds of a cluster; never empty.
    pub(super) addresses: Vec<Address>,
    pub(super) username: Option<Arc<str>>,
    pub(super) password: Option<Arc<str>>,
    /// Which database to select.
    pub(super) database: i64,
    /// Whom to trust, where connections are encrypted.
    pub(super) tls: Option<Tls>,
}

impl RedisUrl {
    /// Reads a URL, see [`rotunda_crds::redis_url`].
    pub fn parse(text: &str) -> Result<Self, InvalidRedisUrl> {
        let url = redis_url::RedisUrl::parse(text)?;
        let database = url.database();
        Ok(Self {
            mode: url.mode,
            addresses: url.addresses,
            username: url.username,
            password: url.password,
            database,
            tls: url.trust.as_ref().map(Tls::trusting).transpose()?,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_that_are_none_are_refused_and_debug_keeps_the_password_to_itself() {
        let key = rcgen::generate_simple_self_signed(["h".into()]).expect("a certificate");
        let parse = |pem: &str| RedisUrl::parse(&format!("rediss://:secret@h\n{pem}"));
        let good = parse(&key.cert.pem()).expect("a fine URL");
        assert!(good.tls.is_some());
        assert!(!format!("{good:?}").contains("secret"));
        for bad in [
            "-----BEGIN X-----\n",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        ] {
            let refused = parse(bad).expect_err("no certificate");
            assert_eq!(refused, InvalidRedisUrl::Certificate);
        }
    }
}
