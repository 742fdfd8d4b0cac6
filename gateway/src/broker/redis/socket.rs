//! Connections to Redis's servers, encrypted or not: the one place that opens them.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rotunda_crds::redis_url::Trust;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::url::{Address, InvalidRedisUrl};

/// How long one IP of a name may take before the next one is tried, too (RFC 8305 recommends this).
const STAGGER: Duration = Duration::from_millis(250);

/// How long a server may take to begin encryption. Redis without TLS takes what it's told for a command that isn't complete, and waits.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(1500);

/// Whom to trust. Certificates are checked, names too; there is no way around it.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Makes ready what has to be at hand to trust them.
    pub(super) fn trusting(whom: &Trust) -> Result<Self, InvalidRedisUrl> {
        let mut roots = RootCertStore::empty();
        if let Trust::Only(pem) = whom {
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let added = certificate.map(|certificate| roots.add(certificate));
                if !matches!(added, Ok(Ok(()))) {
                    return Err(InvalidRedisUrl::Certificate);
                }
            }
            if roots.is_empty() {
                return Err(InvalidRedisUrl::Certificate);
            }
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(InvalidRedisUrl::NoRoots);
            }
        }
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .map_err(|_| InvalidRedisUrl::NoRoots)?
                .with_root_certificates(roots)
                .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// A connection that nothing was said on yet.
pub(super) enum Socket {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Connects. The error is a sentence without the address.
    pub(super) async fn open(address: &Address, tls: Option<&Tls>) -> Result<Self, String> {
        let stream = connect(address).await;
        let stream = stream.map_err(|error| error.to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let Some(Tls(config)) = tls else {
            return Ok(Self::Plain(stream));
        };
        let name = ServerName::try_from(address.host.to_string())
            .map_err(|_| "its name can't stand in a certificate".to_owned())?;
        let encrypted = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, encrypted).await {
            Ok(Ok(stream)) => Ok(Self::Encrypted(Box::new(stream))),
            Ok(Err(error)) => Err(describe_tls(&error)),
            Err(_) => Err(
                "no answer to the TLS handshake: does it speak TLS? Otherwise write redis instead of rediss in its URL"
                    .into(),
            ),
        }
    }
}

/// Tries each IP that the name stands for, the next one before the last has failed: that of a pod that is gone doesn't answer at all, and
/// would use up all the time there is.
async fn connect(address: &Address) -> io::Result<TcpStream> {
    let mut targets = tokio::net::lookup_host((&*address.host, address.port)).await?;
    let mut attempts = FuturesUnordered::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name stands for no address");
    loop {
        let more = targets.next();
        let last = more.is_none();
        if let Some(target) = more {
            attempts.push(TcpStream::connect(target));
        } else if attempts.is_empty() {
            return Err(error);
        }
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(failure) => error = failure,
            },
            () = tokio::time::sleep(STAGGER), if !last => {}
        }
    }
}

/// What went wrong with a handshake, and what to do about it.
fn describe_tls(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidMessage(_)) => {
            "it doesn't speak TLS: write redis instead of rediss in its URL".into()
        }
        Some(rustls::Error::InvalidCertificate(why)) => format!(
            "its certificate isn't trusted ({why}): put the authority's behind the URL, and check that the server's holds the name or IP asked for"
        ),
        _ if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it hung up during the TLS handshake: does it speak TLS?".into()
        }
        _ => format!("TLS: {error}"),
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Encrypted(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Encrypted(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
