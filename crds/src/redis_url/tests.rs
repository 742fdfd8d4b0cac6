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
fn sentinels_are_asked_for_a_name() {
    let url = parse("redis+sentinel://u:secret@a,b:7001/my%2Fmaster/2");
    let mode = Mode::Sentinel {
        master: "my/master".into(),
        database: 2,
    };
    assert_eq!((url.mode, url.trust), (mode, None));
    assert_eq!(
        url.addresses,
        [Address::new("a", 26379), Address::new("b", 7001)]
    );
    assert_eq!(parse("redis+sentinel://a/m").database(), 0);
}

#[test]
fn certificates_may_follow_and_are_trusted_alone() {
    let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    for scheme in ["rediss", "rediss+cluster"] {
        let url = parse(&format!("{scheme}://h\n{pem}"));
        assert_eq!(url.trust, Some(Trust::Only(pem.into())), "{scheme}");
        assert_eq!(url.addresses, [Address::new("h", 6379)]);
        let without = parse(&format!("{scheme}://h"));
        assert_eq!(without.trust, Some(Trust::System));
    }
}

#[test]
fn what_cant_be_used_is_refused_with_a_sentence_without_the_secret() {
    let cases = [
        ("", InvalidRedisUrl::NoScheme),
        ("redis:secret@h", InvalidRedisUrl::NoScheme),
        ("redis+sentinel://:secret@h", InvalidRedisUrl::Master),
        ("redis+sentinel://:secret@h/", InvalidRedisUrl::Master),
        ("redis+sentinel://:secret@h/m/one", InvalidRedisUrl::Master),
        (
            "redis+other://:secret@h",
            InvalidRedisUrl::Scheme("redis+other".into()),
        ),
        (
            "redis://:secret@h\n-----BEGIN CERTIFICATE-----\n",
            InvalidRedisUrl::NeedlessCertificate("redis".into()),
        ),
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
