//! Against a server on this machine that answers as a test wants.

use std::future::pending;
use std::net::SocketAddr;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::auth::testing::{ec_jwk, set};

fn keys() -> String {
    set(&[ec_jwk("a")])
}

fn ok(headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
}

/// The path that is asked for.
async fn asked<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    head.split(' ').nth(1).unwrap().to_owned()
}

/// A server that answers each path; what it answers with `None` it never finishes.
async fn serve(
    tls: Option<TlsAcceptor>,
    answer: impl Fn(&str) -> Option<String> + Send + Copy + 'static,
) -> SocketAddr {
    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
        mut stream: S,
        answer: impl Fn(&str) -> Option<String>,
    ) {
        let path = asked(&mut stream).await;
        match answer(&path) {
            Some(text) => {
                stream.write_all(text.as_bytes()).await.ok();
                stream.shutdown().await.ok();
            }
            None => pending().await,
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => converse(stream, answer).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            converse(stream, answer).await;
                        }
                    }
                }
            });
        }
    });
    address
}

fn fetcher() -> Fetcher {
    Fetcher::trusting(RootCertStore::empty()).unwrap()
}

async fn fetch(address: SocketAddr, path: &str) -> Result<Fetched, FetchError> {
    let url = parse_url(&format!("http://{address}{path}")).unwrap();
    fetcher().fetch(&url).await
}

#[tokio::test]
async fn a_set_is_read_with_how_long_it_is_fresh() {
    let address = serve(None, |path| {
        Some(match path {
            "/plain" => ok("", &keys()),
            "/aged" => ok(
                "cache-control: public, max-age=120, must-revalidate\r\n",
                &keys(),
            ),
            "/odd" => ok("cache-control: max-age=soon\r\n", &keys()),
            "/chunked" => format!(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
                keys().len(),
                keys()
            ),
            other => panic!("{other}"),
        })
    })
    .await;
    for (path, fresh) in [
        ("/plain", None),
        ("/aged", Some(Duration::from_mins(2))),
        ("/odd", None),
        ("/chunked", None),
    ] {
        let fetched = fetch(address, path).await.unwrap();
        assert_eq!(fetched.keys.keys().len(), 1);
        assert_eq!(fetched.fresh_for, fresh, "{path}");
    }
}

#[tokio::test]
async fn what_is_no_set_is_an_error_that_says_why() {
    let address = serve(None, |path| {
        Some(match path {
            "/missing" => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "/broken" => "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_owned(),
            "/html" => ok("", "<html>"),
            "/empty" => ok("", r#"{"keys":[]}"#),
            "/short" => "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_owned(),
            _ => "nonsense\r\n\r\n".to_owned(),
        })
    })
    .await;
    for (path, expected) in [
        ("/missing", "127.0.0.1 answered with status 404 Not Found"),
        (
            "/broken",
            "127.0.0.1 answered with status 503 Service Unavailable",
        ),
        ("/html", "the answer of 127.0.0.1 is of no use"),
        ("/empty", "the answer of 127.0.0.1 is of no use"),
        ("/short", "127.0.0.1 can't be asked"),
        ("/nonsense?with=a-secret", "127.0.0.1 can't be asked"),
    ] {
        let error = fetch(address, path).await.unwrap_err();
        assert_eq!(error.to_string(), expected, "{path}");
    }
    let nobody = fetch("127.0.0.1:1".parse().unwrap(), "/").await;
    assert!(matches!(nobody, Err(FetchError::Request { .. })));
}

#[tokio::test]
async fn an_answer_is_read_up_to_a_size() {
    let address = serve(None, |path| {
        let padding = " ".repeat(MAX_BYTES);
        Some(match path {
            "/long" => ok("", &format!("{}{padding}", keys())),
            "/without-end" => format!("HTTP/1.1 200 OK\r\n\r\n{padding}{padding}"),
            _ => format!("HTTP/1.1 200 OK\r\nx: {padding}\r\n\r\n{}", keys()),
        })
    })
    .await;
    for path in ["/long", "/without-end"] {
        let error = fetch(address, path).await.unwrap_err();
        assert!(
            matches!(error, FetchError::TooLarge { .. }),
            "{path}: {error}"
        );
    }
    let head = fetch(address, "/head").await.unwrap_err();
    assert!(matches!(head, FetchError::Request { .. }), "{head}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_given_up() {
    let address = serve(None, |_| None).await;
    let started = tokio::time::Instant::now();
    let error = fetch(address, "/").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "127.0.0.1 didn't answer within 5 seconds"
    );
    assert!(started.elapsed() <= TIMEOUT + Duration::from_secs(1));
}

#[tokio::test]
async fn redirects_are_followed_a_few_times_and_never_to_where_keys_cannot_be_trusted() {
    let address = serve(None, |path| {
        let steps = path.trim_start_matches("/steps/").parse::<usize>();
        Some(match (path, steps) {
            (_, Ok(0)) => ok("", &keys()),
            (_, Ok(steps)) => redirect(&format!("/steps/{}", steps - 1)),
            ("/elsewhere", _) => redirect("http://localhost:9/keys"),
            ("/file", _) => redirect("file:///etc/passwd"),
            ("/password", _) => redirect("https://user:pass@127.0.0.1/"),
            _ => redirect("/loop"),
        })
    })
    .await;
    assert!(fetch(address, "/steps/3").await.is_ok());
    for path in ["/steps/4", "/loop"] {
        let error = fetch(address, path).await.unwrap_err();
        assert_eq!(error.to_string(), "127.0.0.1 redirects more than 3 times");
    }
    for path in ["/elsewhere", "/file", "/password"] {
        let error = fetch(address, path).await.unwrap_err();
        assert!(
            matches!(error, FetchError::RedirectTarget { .. }),
            "{path}: {error}"
        );
    }
}

#[tokio::test]
async fn over_tls_the_certificate_must_be_trusted_and_no_redirect_leaves_it() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = serve(Some(acceptor), |path| {
        Some(match path {
            "/down" => redirect("http://localhost/keys"),
            _ => ok("", &keys()),
        })
    })
    .await;
    let url =
        |path: &str| parse_url(&format!("https://localhost:{}{path}", address.port())).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let trusting = Fetcher::trusting(roots).unwrap();
    assert!(trusting.fetch(&url("/keys")).await.is_ok());
    let down = trusting.fetch(&url("/down")).await;
    assert!(matches!(down, Err(FetchError::RedirectTarget { .. })));
    let stranger = fetcher().fetch(&url("/keys")).await;
    assert!(matches!(stranger, Err(FetchError::Request { .. })));
}
