use serde_json::json;

use super::*;
use crate::{realtime_cluster::RealtimeCluster, room::Room};

fn cluster(spec: &str) -> RealtimeCluster {
    let text = format!(
        "apiVersion: rotunda.dev/v1alpha1\nkind: RealtimeCluster\nmetadata: {{ namespace: demo, name: chat }}\nspec: {spec}"
    );
    serde_yaml::from_str(&text).expect("a RealtimeCluster")
}

fn room(name: &str, generation: i64, created: &str, spec: &str) -> Room {
    let text = format!(
        "apiVersion: rotunda.dev/v1alpha1\nkind: Room\nmetadata: {{ namespace: demo, name: {name}, generation: {generation}, creationTimestamp: {created} }}\nspec: {spec}"
    );
    serde_yaml::from_str(&text).expect("a Room")
}

fn input<'a>(cluster: &'a RealtimeCluster, rooms: &'a [Room]) -> RenderInput<'a> {
    RenderInput {
        cluster,
        rooms,
        revision: "7",
        secrets_revision: "s",
        api_key_entries: &[],
        redis: true,
        previous: None,
    }
}

const FIRST: &str = "2024-01-01T00:00:00Z";
const SECOND: &str = "2024-01-02T00:00:00Z";

#[test]
fn a_cluster_that_says_nothing_gets_the_defaults() {
    let config = render(&input(&cluster("{ auth: { anonymous: true } }"), &[]));
    assert_eq!(config.key_prefix, "demo.chat");
    assert_eq!(config.redis.url_file.as_deref(), Some("redis.url"));
    assert_eq!(config.limits, LimitsConfig::default());
    assert_eq!(config.limits.message_bytes, 65_536);
    assert_eq!((config.drain_seconds, config.max_connections), (60, 50_000));
    assert_eq!(
        (
            config.heartbeat.interval_seconds,
            config.heartbeat.timeout_seconds
        ),
        (25, 10)
    );
    assert_eq!(config.undeclared_rooms, UndeclaredRooms::Deny);
    assert!(config.auth.anonymous && config.auth.jwt.is_none());
}

#[test]
fn secrets_stand_as_file_names_only() {
    let cluster = cluster(
        "{ auth: { jwt: { issuer: '', keys: [
            { id: main, secretRef: { name: s, key: k } },
            { id: web, jwksUrl: 'https://x/jwks' },
            { id: mixed, publicKeyRef: { name: p, key: pem }, algorithms: [HS256, ES256] } ] },
            apiKeysSecretRef: { name: keys } },
           tls: { secretName: cert }, redis: { external: { urlSecretRef: { name: r, key: url } } } }",
    );
    let entries = ["web".to_owned(), "backend".to_owned()];
    let config = render(&RenderInput {
        api_key_entries: &entries,
        ..input(&cluster, &[])
    });
    let jwt = config.auth.jwt.expect("jwt");
    assert_eq!(jwt.issuer, None);
    assert_eq!(jwt.keys[0].file.as_deref(), Some("jwt.main"));
    assert_eq!(jwt.keys[0].algorithms, [JwtAlgorithm::HS256]);
    assert_eq!(jwt.keys[1].jwks_url.as_deref(), Some("https://x/jwks"));
    assert_eq!(jwt.keys[1].algorithms, JwtAlgorithm::ASYMMETRIC);
    assert_eq!(
        jwt.keys[2].algorithms,
        [JwtAlgorithm::ES256],
        "a public key never checks an HMAC"
    );
    let names: Vec<&str> = config
        .auth
        .api_keys
        .iter()
        .map(|key| key.file.as_str())
        .collect();
    assert_eq!(names, ["apikey.backend", "apikey.web"]);
    let files: Vec<(String, String)> = secret_files(&cluster)
        .into_iter()
        .map(|file| (file.file, format!("{}/{}", file.secret, file.key)))
        .collect();
    let expected = [
        ("redis.url", "r/url"),
        ("jwt.main", "s/k"),
        ("jwt.mixed", "p/pem"),
        ("tls.crt", "cert/tls.crt"),
        ("tls.key", "cert/tls.key"),
    ];
    assert_eq!(
        files,
        expected.map(|(file, from)| (file.to_owned(), from.to_owned()))
    );
}

#[test]
fn rooms_stand_by_precedence_whatever_their_order() {
    let cluster = cluster("{ auth: { anonymous: true } }");
    let of = |text: &str| format!("{{ clusterRef: {{ name: chat }}, {text} }}");
    let mut rooms = vec![
        room("wide", 1, FIRST, &of("pattern: '**'")),
        room("team-young", 1, SECOND, &of("pattern: 'team:*'")),
        room("team-old", 1, FIRST, &of("pattern: 'team:**'")),
        room("exact", 1, SECOND, &of("name: 'team:red'")),
        room("long", 1, SECOND, &of("pattern: 'team:red*'")),
        room("loser", 1, SECOND, &of("pattern: '**'")),
        room(
            "elsewhere",
            1,
            FIRST,
            "{ clusterRef: { name: other }, name: x }",
        ),
    ];
    let config = render(&input(&cluster, &rooms));
    let order: Vec<&str> = config.rooms.iter().map(|room| room.name.as_str()).collect();
    assert_eq!(order, ["exact", "long", "team-old", "team-young", "wide"]);
    rooms.reverse();
    assert_eq!(render(&input(&cluster, &rooms)), config);
    rooms[1].metadata.deletion_timestamp = rooms[1].metadata.creation_timestamp.clone();
    assert!(
        !render(&input(&cluster, &rooms))
            .rooms
            .iter()
            .any(|room| room.name == "loser")
    );
}

#[test]
fn a_broken_expression_leaves_the_policy_before_it_in_force() {
    let cluster = cluster("{ auth: { anonymous: true } }");
    let spec = |join: &str| {
        format!("{{ clusterRef: {{ name: chat }}, name: lobby, access: {{ join: \"{join}\" }} }}")
    };
    let good = [room("lobby", 1, FIRST, &spec("true"))];
    let broken = [room("lobby", 2, FIRST, &spec("user.clams.x"))];
    let before = render(&input(&cluster, &good));
    let after = render(&RenderInput {
        previous: Some(&before),
        ..input(&cluster, &broken)
    });
    assert_eq!(
        (
            after.rooms[0].generation,
            after.rooms[0].policy.access.join.as_str()
        ),
        (1, "true")
    );
    let alone = render(&input(&cluster, &broken));
    assert_eq!(
        alone.rooms[0].generation, 2,
        "kept, and denied by whoever can't compile it"
    );
    let recreated = [room("lobby", 1, SECOND, &spec("user.clams.x"))];
    let other = render(&RenderInput {
        previous: Some(&before),
        ..input(&cluster, &recreated)
    });
    assert_eq!(
        other.rooms[0].policy.access.join, "user.clams.x",
        "another Room of the same name"
    );
}

#[test]
fn defaults_of_a_room_follow_each_other() {
    let cluster = cluster("{ auth: { anonymous: true } }");
    let spec = "{ clusterRef: { name: chat }, name: a, access: { join: 'true', publish: 'false', signal: '' },
        presence: { mode: Batched }, history: { maxAge: 1h30m } }";
    let config = render(&input(&cluster, &[room("a", 1, FIRST, spec)]));
    let policy = &config.rooms[0].policy;
    assert_eq!(
        policy.access.all(),
        ["true", "false", "false", "true", "true"]
    );
    assert_eq!(policy.presence.batch_milliseconds, 1000);
    assert_eq!(policy.history.max_age_seconds, 5400);
    assert_eq!(policy.limits.message_bytes, None);
    assert_eq!(RoomPolicy::default().history.max_age_seconds, 86_400);
}

#[test]
fn packing_is_reversible_and_always_the_same() {
    let cluster = cluster(
        "{ auth: { jwt: { keys: [{ id: a, jwksUrl: 'https://x' }] } }, allowedOrigins: ['*'] }",
    );
    let spec = "{ clusterRef: { name: chat }, pattern: 'a:*' }";
    let config = render(&input(&cluster, &[room("a", 3, FIRST, spec)]));
    let packed = encode_gzip(&config);
    assert_eq!(packed, encode_gzip(&config.clone()));
    assert_eq!(decode_gzip(&packed).expect("a config"), config);
    insta::assert_json_snapshot!(config);
}

#[test]
fn a_newer_operators_fields_are_ignored_and_an_older_ones_gaps_are_filled() {
    let newer = json!({
        "version": 1, "novelty": {"a": 1}, "limits": {"burst": 7, "novelty": true},
        "rooms": [{"namespace": "a", "name": "b", "generation": 1, "match": {"pattern": "x:*"}, "novelty": 1,
                   "history": {"maxMessages": 5, "novelty": 2}}],
    });
    let config: GatewayConfig = serde_json::from_value(newer).expect("readable");
    assert_eq!(
        (config.limits.burst, config.limits.messages_per_second),
        (7, 20)
    );
    assert_eq!(config.rooms[0].policy.history.max_messages, 5);
    assert_eq!(config.rooms[0].policy.access, AccessConfig::default());
    assert_eq!(
        config.rooms[0].matches,
        RoomMatch::Pattern("x:*".to_owned())
    );
}

#[test]
fn bytes_that_are_no_config_are_refused() {
    use std::io::Write;
    let pack = |json: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(json).expect("memory");
        encoder.finish().expect("memory")
    };
    let refused = |bytes: &[u8]| decode_gzip(bytes).expect_err("refused");
    assert!(matches!(
        refused(b""),
        ConfigBytesError::Gzip(_) | ConfigBytesError::Json(_)
    ));
    assert!(matches!(refused(b"not gzip"), ConfigBytesError::Gzip(_)));
    let whole = pack(b"{\"version\":1}");
    assert!(decode_gzip(&whole).is_ok());
    assert!(matches!(
        refused(&whole[..whole.len() - 3]),
        ConfigBytesError::Gzip(_)
    ));
    assert!(matches!(refused(&pack(b"[]]")), ConfigBytesError::Json(_)));
    assert!(matches!(
        refused(&pack(b"{\"version\":2}")),
        ConfigBytesError::Version(2)
    ));
    let bomb = pack(&vec![b' '; MAX_CONFIG_BYTES + 1]);
    assert!(bomb.len() < 100_000 && matches!(refused(&bomb), ConfigBytesError::TooLarge));
}
