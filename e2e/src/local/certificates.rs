//! Who is who in the cluster: two authorities, a certificate for each component, and the kubeconfigs
//! that carry them.

use std::{
    fs,
    os::unix::fs::{OpenOptionsExt, chown},
    path::Path,
};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::layout::{API_SERVER, API_SERVICE_ADDRESS, Layout, NODE_ADDRESS, NODE_NAME};

/// Writes every certificate, key and kubeconfig.
pub(crate) fn create(layout: &Layout) -> Result<()> {
    let authority = Authority::create(layout, "ca", "rotunda-local")?;
    let aggregation = Authority::create(layout, "front-proxy-ca", "rotunda-local-front-proxy")?;

    let api_names = [
        "kubernetes".to_owned(),
        "kubernetes.default".to_owned(),
        "kubernetes.default.svc".to_owned(),
        "kubernetes.default.svc.cluster.local".to_owned(),
        API_SERVICE_ADDRESS.to_string(),
        NODE_ADDRESS.to_string(),
    ];
    let node_names = [NODE_NAME.to_owned(), NODE_ADDRESS.to_string()];
    let node_user = format!("system:node:{NODE_NAME}");
    authority
        .issue("apiserver", &Identity::named("kube-apiserver", &api_names))?
        .save(layout)?;
    authority
        .issue("etcd", &Identity::named("etcd", &node_names))?
        .save(layout)?;
    authority
        .issue("kubelet-server", &Identity::named(&node_user, &node_names))?
        .save(layout)?;
    authority
        .issue(
            "apiserver-client",
            &Identity::member("kube-apiserver", "system:masters"),
        )?
        .save(layout)?;
    aggregation
        .issue(
            "front-proxy-client",
            &Identity::named("front-proxy-client", &[]),
        )?
        .save(layout)?;

    let service_accounts = KeyPair::generate()?;
    write_secret(
        &layout.pki("service-accounts.key"),
        &service_accounts.serialize_pem(),
    )?;
    write_secret(
        &layout.pki("service-accounts.pub"),
        &service_accounts.public_key_pem(),
    )?;

    let components = [
        (
            "kube-controller-manager",
            Identity::named("system:kube-controller-manager", &[]),
        ),
        (
            "kube-scheduler",
            Identity::named("system:kube-scheduler", &[]),
        ),
        ("kube-proxy", Identity::named("system:kube-proxy", &[])),
        ("kubelet", Identity::member(&node_user, "system:nodes")),
    ];
    for (component, identity) in components {
        let pair = authority.issue(component, &identity)?;
        write_secret(
            &layout.component_kubeconfig(component),
            &kubeconfig(&authority.certificate, &pair),
        )?;
    }
    let administrator = authority.issue(
        "administrator",
        &Identity::member("administrator", "system:masters"),
    )?;
    write_secret(
        &layout.kubeconfig(),
        &kubeconfig(&authority.certificate, &administrator),
    )?;
    give_to_sudo_user(&layout.kubeconfig())
}

struct Identity<'a> {
    common_name: &'a str,
    organization: Option<&'a str>,
    names: &'a [String],
}

impl<'a> Identity<'a> {
    fn named(common_name: &'a str, names: &'a [String]) -> Self {
        Self {
            common_name,
            organization: None,
            names,
        }
    }

    fn member(common_name: &'a str, organization: &'a str) -> Self {
        Self {
            common_name,
            organization: Some(organization),
            names: &[],
        }
    }
}

struct Pair {
    file: String,
    certificate: String,
    key: String,
}

impl Pair {
    fn save(&self, layout: &Layout) -> Result<()> {
        write_secret(
            &layout.pki(&format!("{}.crt", self.file)),
            &self.certificate,
        )?;
        write_secret(&layout.pki(&format!("{}.key", self.file)), &self.key)
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn create(layout: &Layout, file: &str, common_name: &str) -> Result<Self> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.distinguished_name = distinguished_name(common_name, None);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?.pem();
        let pair = Pair {
            file: file.to_owned(),
            certificate: certificate.clone(),
            key: key.serialize_pem(),
        };
        pair.save(layout)?;
        Ok(Self {
            issuer: Issuer::new(parameters, key),
            certificate,
        })
    }

    fn issue(&self, file: &str, identity: &Identity<'_>) -> Result<Pair> {
        let mut parameters = CertificateParams::new(identity.names)?;
        parameters.distinguished_name =
            distinguished_name(identity.common_name, identity.organization);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok(Pair {
            file: file.to_owned(),
            certificate: parameters.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn distinguished_name(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn kubeconfig(authority: &str, pair: &Pair) -> String {
    let encode = |text: &str| BASE64.encode(text);
    format!(
        "apiVersion: v1
kind: Config
clusters:
  - name: {NODE_NAME}
    cluster:
      server: https://{API_SERVER}
      certificate-authority-data: {}
users:
  - name: {NODE_NAME}
    user:
      client-certificate-data: {}
      client-key-data: {}
contexts:
  - name: {NODE_NAME}
    context: {{ cluster: {NODE_NAME}, user: {NODE_NAME} }}
current-context: {NODE_NAME}
",
        encode(authority),
        encode(&pair.certificate),
        encode(&pair.key),
    )
}

fn write_secret(path: &Path, content: &str) -> Result<()> {
    use std::io::Write;
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(content.as_bytes())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Who started this through sudo should be able to use the cluster without it.
fn give_to_sudo_user(path: &Path) -> Result<()> {
    let id = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse().ok())
    };
    if let Some(user) = id("SUDO_UID") {
        chown(path, Some(user), id("SUDO_GID"))
            .with_context(|| format!("giving {} to its user", path.display()))?;
    }
    Ok(())
}
