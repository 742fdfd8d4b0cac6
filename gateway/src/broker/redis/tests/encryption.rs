//! Redis behind TLS: who is trusted, and what is said when somebody isn't.

use std::path::Path;
use std::sync::OnceLock;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::server::{Cluster, ENCODED_PASSWORD, Server, free_port, new_dir, standalone};
use super::{gateway, some_prefix, start};
use crate::broker::Broker;
use crate::broker::contract::{broker_contract, eventually};

/// The arguments of a server that speaks TLS at a port, with files in its folder.
const FILES: [&str; 8] = [
    "--tls-cert-file",
    "server.pem",
    "--tls-key-file",
    "server.key",
    "--tls-ca-cert-file",
    "ca.pem",
    "--tls-auth-clients",
    "no",
];

/// Puts a certificate for 127.0.0.1, its key and its authority's certificate into a folder, and gives the latter.
fn issue(dir: &Path) -> String {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([]).expect("fine parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("a certificate");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(["127.0.0.1".to_owned()])
        .and_then(|params| params.signed_by(&key, &issuer))
        .expect("a certificate");
    let files = [
        ("server.pem", server.pem()),
        ("server.key", key.serialize_pem()),
        ("ca.pem", authority.pem()),
    ];
    for (name, content) in files {
        std::fs::write(dir.join(name), content).expect("the folder is there");
    }
    authority.pem()
}

/// A server, and its URL with the authority behind it.
fn shared() -> &'static (Server, String) {
    static SERVER: OnceLock<(Server, String)> = OnceLock::new();
    SERVER.get_or_init(|| {
        let (dir, port) = (new_dir(), free_port());
        let authority = issue(&dir);
        let port_text = port.to_string();
        let more = [&["--tls-port", &port_text], &FILES[..]].concat();
        let server = Server::start_in(dir, free_port(), &more);
        let url = format!("rediss://:{ENCODED_PASSWORD}@127.0.0.1:{port}\n{authority}");
        super::access::allow(&server, "");
        (server, url)
    })
}

fn url() -> String {
    shared().1.clone()
}

fn cluster_url() -> String {
    static CLUSTER: OnceLock<(Cluster, String)> = OnceLock::new();
    let (_, url) = CLUSTER.get_or_init(|| {
        let (dir, port) = (new_dir(), free_port());
        let authority = issue(&dir);
        let port_text = port.to_string();
        let more = [
            &["--tls-cluster", "yes", "--tls-port", &port_text],
            &FILES[..],
        ]
        .concat();
        let cluster = Cluster::start_in(dir, &more);
        let url = format!("rediss+cluster://:{ENCODED_PASSWORD}@127.0.0.1:{port}\n{authority}");
        (cluster, url)
    });
    url.clone()
}

mod contract_over_tls {
    use super::*;
    broker_contract!(tokio::test, gateway(&url(), &some_prefix()));
}

mod contract_on_a_cluster_over_tls {
    use super::*;
    broker_contract!(tokio::test, gateway(&cluster_url(), &some_prefix()));
}

/// As `app`, a user with the rights that are documented.
fn url_of_a_user() -> String {
    url().replacen(&format!(":{ENCODED_PASSWORD}@"), "app:secret@", 1)
}

mod contract_over_tls_with_few_rights {
    use super::*;
    broker_contract!(tokio::test, gateway(&url_of_a_user(), &some_prefix()));
}

async fn says(url: &str, expected: &str) {
    let (broker, _, _) = start(url, &some_prefix());
    eventually(expected, || {
        broker.ready().is_err_and(|why| why.contains(expected))
    })
    .await;
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_trusted() {
    let url = url();
    let (address, _) = url.split_once('\n').expect("a certificate follows");
    says(address, "isn't trusted").await;
    let stranger = issue(&new_dir());
    says(&format!("{address}\n{stranger}"), "isn't trusted").await;
}

#[tokio::test]
async fn a_server_of_another_name_is_not_trusted() {
    says(&url().replace("127.0.0.1", "localhost"), "isn't trusted").await;
}

#[tokio::test]
async fn a_server_without_tls_is_told() {
    let authority = url().split_off(url().find('\n').expect("a certificate follows"));
    let plain = standalone().url().replace("redis://", "rediss://");
    says(&format!("{plain}{authority}"), "TLS").await;
}
