//! `rotunda-gateway token`: mints a token with the key that a RealtimeCluster's manifests name.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::Args;
use jsonwebtoken::{EncodingKey, Header, encode};
use rotunda_crds::GatewayConfig;
use rotunda_crds::duration;
use serde_json::{Map, Value};

use crate::auth::algorithm_of;
use crate::cli::Manifests;
use crate::config::Files;
use crate::dev;
use crate::ids::UserId;

/// What `token` takes.
#[derive(Debug, Args)]
pub struct Options {
    /// Whom the token is for (`sub`)
    #[arg(long, value_name = "ID", value_parser = parse_user)]
    user: UserId,
    /// Another claim, for access expressions; the value is JSON, or else a text. May be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_claim)]
    claim: Vec<(String, Value)>,
    /// How long it is valid
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    expires: Duration,
    #[command(flatten)]
    manifests: Manifests,
}

fn parse_user(text: &str) -> Result<UserId, String> {
    UserId::parse(text).map_err(|error| error.to_string())
}

fn parse_claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write it as NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((name.to_owned(), value))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse_seconds(text)
        .map(Duration::from_secs)
        .map_err(|error| error.to_string())
}

/// Prints a token.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let loaded = dev::load(&options.manifests, false)?;
    let claims = options.claim.iter().cloned().collect();
    println!(
        "{}",
        mint(
            &loaded.config,
            &loaded.files,
            &options.user,
            claims,
            options.expires
        )?
    );
    Ok(())
}

/// Signs a token with the first shared secret of a config.
pub fn mint(
    config: &GatewayConfig,
    files: &Files,
    user: &UserId,
    mut claims: Map<String, Value>,
    expires: Duration,
) -> anyhow::Result<String> {
    let jwt = config
        .auth
        .jwt
        .as_ref()
        .context("the RealtimeCluster takes no tokens: spec.auth.jwt is missing")?;
    let mut keys = jwt.keys.iter().filter_map(|key| {
        let algorithm = key
            .algorithms
            .iter()
            .find(|algorithm| algorithm.is_symmetric())?;
        Some((
            key,
            algorithm_of(*algorithm),
            files.get(key.file.as_ref()?)?,
        ))
    });
    let Some((key, algorithm, secret)) = keys.next() else {
        bail!(
            "none of spec.auth.jwt.keys is a shared secret (secretRef), so its tokens are signed elsewhere"
        );
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    claims.insert("sub".to_owned(), user.as_str().into());
    claims.insert("iat".to_owned(), now.as_secs().into());
    claims.insert("exp".to_owned(), (now + expires).as_secs().into());
    if let Some(issuer) = &jwt.issuer {
        claims
            .entry("iss")
            .or_insert_with(|| issuer.as_str().into());
    }
    if let Some(audience) = &jwt.audience {
        claims
            .entry("aud")
            .or_insert_with(|| audience.as_str().into());
    }
    let header = Header {
        kid: Some(key.id.clone()),
        ..Header::new(algorithm)
    };
    Ok(encode(&header, &claims, &EncodingKey::from_secret(secret))?)
}
