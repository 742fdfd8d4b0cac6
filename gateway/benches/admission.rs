//! What it costs to decide: whether a handshake and a publish are let in, by token, origin, limits and policy.
//!
//! ```sh
//! cargo bench --package rotunda-gateway --bench admission
//! ```
//!
//! In this process, on one thread, without sockets or a broker: what is measured is what the checks add to a request. Keys that take longer than
//! a shared secret, such as RSA's, aren't looked at. What an expression allowed is remembered for a connection; what it costs without that is told beside it.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use futures::FutureExt;
use rotunda_crds::access::Action;
use rotunda_crds::config::{JwtConfig, JwtKeyConfig, RoomConfig, RoomMatch, RoomPolicy};
use rotunda_crds::realtime_cluster::auth::JwtAlgorithm;
use rotunda_crds::{GatewayConfig, RoomName};
use rotunda_gateway::access;
use rotunda_gateway::auth::Identity;
use rotunda_gateway::config::{Files, Settings};
use rotunda_gateway::http::{token as carried, ws};
use rotunda_gateway::ids::UserId;
use rotunda_gateway::limits::{Admission, Kind, RateLimits};
use rotunda_gateway::policy::PublishCounters;
use rotunda_gateway::token;
use serde_json::json;

#[path = "rig/budget.rs"]
mod budget;
#[path = "rig/process.rs"]
mod process;

use budget::{Budget, report};
use process::cpu_us;

/// Enough that the kernel's ticks of 10 ms tell hundredths of a microsecond apart.
const ROUNDS: u32 = 1_000_000;

const HOST: &str = "rt.example.com";

fn main() -> anyhow::Result<ExitCode> {
    let (settings, files) = settings()?;
    let claims = json!({ "teams": ["red", "green", "blue"], "role": "member", "name": "Alice" });
    let claims = claims.as_object().cloned().unwrap_or_default();
    let user = UserId::parse("alice")?;
    let hour = Duration::from_hours(1);
    let token = token::mint(&settings.config, &files, &user, claims, hour)?;
    let uri: Uri = format!("/v1/ws?room=team:red&token={token}").parse()?;
    let mut headers = HeaderMap::new();
    let origin = HeaderValue::from_static("https://chat.example.org");
    headers.insert(header::ORIGIN, origin);
    let mut identity = handshake(&settings, &headers, &uri).context("refused")?;
    let handshakes = measure(|| {
        black_box(handshake(&settings, &headers, black_box(&uri)));
    })?;

    let (lobby, team) = (RoomName::parse("lobby")?, RoomName::parse("team:red")?);
    let mut rates = RateLimits::new(&settings.config.limits, Instant::now());
    let mut publish = |identity: &Identity, room: &RoomName| {
        measure(|| {
            assert!(may_publish(
                &settings,
                &mut rates,
                identity,
                black_box(room)
            ));
        })
    };
    let by_default = publish(&identity, &lobby)?;
    let by_claims = publish(&identity, &team)?;
    let afresh = measure(|| {
        // Without what is remembered of the last one, as over HTTP.
        identity = identity.clone();
        let policy = settings.policies.of(&team).expect("it is declared");
        assert!(access::check(policy, Action::Publish, &identity, black_box(&team)).is_ok());
    })?;
    println!("an expression over the claims, evaluated afresh: {afresh:.2} µs");
    let row = |what, measured, at_most| Budget {
        what,
        measured,
        unit: "µs",
        yardstick: None,
        at_most,
    };
    Ok(report(&[
        row("checks of a handshake, HS256 and claims", handshakes, 50.0),
        row("checks of a publish, default access", by_default, 2.0),
        row("checks of a publish, access by claims", by_claims, 2.0),
    ]))
}

/// Everything that is asked before a client is let in and into its room.
fn handshake(settings: &Settings, headers: &HeaderMap, uri: &Uri) -> Option<Identity> {
    let origin = headers.get(header::ORIGIN)?.to_str().ok()?;
    if !settings.origins.allow(origin, Some(HOST)) {
        return None;
    }
    let token = carried::find(headers, uri);
    let checking = settings.authenticator.authenticate(token.as_deref());
    let identity = checking.now_or_never()?.ok()?;
    black_box(RateLimits::new(&settings.config.limits, Instant::now()));
    for (room, _) in ws::wishes(uri).rooms {
        let policy = settings.policies.of(&room)?;
        access::check(policy, Action::Join, &identity, &room).ok()?;
    }
    Some(identity)
}

/// Everything that is asked before a message goes to the broker.
fn may_publish(
    settings: &Settings,
    rates: &mut RateLimits,
    identity: &Identity,
    room: &RoomName,
) -> bool {
    let kind = Kind::Message { bytes: 100 };
    let admission = rates.admit(kind, &settings.config.limits, Instant::now());
    admission == Admission::Admitted
        && settings.policies.of(room).is_some_and(|policy| {
            policy.message_bytes > 100
                && access::check(policy, Action::Publish, identity, room).is_ok()
        })
}

/// Processor time of one round, in microseconds. A tenth of the rounds before it warm up.
fn measure(mut round: impl FnMut()) -> anyhow::Result<f64> {
    let me = std::process::id();
    (0..ROUNDS / 10).for_each(|_| round());
    let before = cpu_us(me)?;
    (0..ROUNDS).for_each(|_| round());
    Ok((cpu_us(me)? - before) / f64::from(ROUNDS))
}

fn settings() -> anyhow::Result<(Settings, Files)> {
    let mut config = GatewayConfig::default();
    config.auth.jwt = Some(JwtConfig {
        keys: vec![JwtKeyConfig {
            id: "main".to_owned(),
            file: Some("jwt.main".to_owned()),
            jwks_url: None,
            algorithms: vec![JwtAlgorithm::HS256],
        }],
        issuer: Some("https://login.example.com".to_owned()),
        audience: Some("chat".to_owned()),
    });
    config.allowed_origins = ["https://app.example.com", "null", "https://*.example.org"]
        .map(str::to_owned)
        .to_vec();
    // Counted, and never reached.
    config.limits.messages_per_second = u32::MAX;
    config.limits.burst = u32::MAX;
    config.limits.bytes_per_second = u64::from(u32::MAX);
    let room = |matches, policy| RoomConfig {
        namespace: "bench".to_owned(),
        name: "room".to_owned(),
        generation: 1,
        creation_timestamp: None,
        matches,
        policy,
    };
    let mut by_claims = RoomPolicy::default();
    for access in [&mut by_claims.access.join, &mut by_claims.access.publish] {
        "room.segments[1] in user.claims.teams".clone_into(access);
    }
    config.rooms = vec![
        room(RoomMatch::Name("lobby".to_owned()), RoomPolicy::default()),
        room(RoomMatch::Pattern("team:*".to_owned()), by_claims),
    ];
    let secret = b"a-key-for-this-bench-alone-32-bytes-long".to_vec();
    let files = Files::from([("jwt.main".to_owned(), secret)]);
    let settings = Settings::build(config, &files, &PublishCounters::default())?;
    Ok((settings, files))
}
