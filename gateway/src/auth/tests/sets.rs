//! Tokens whose keys are in a set at a URL.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::*;
use crate::auth::fetch::{FetchError, Fetched};
use crate::auth::key_source::MIN_INTERVAL;
use crate::auth::testing::{ec_jwk, ed_jwk, named, rsa_jwk, set, token};

/// Where a set comes from, in the hands of the test.
#[derive(Default)]
struct Source {
    /// `None`: it is away.
    answer: Mutex<Option<String>>,
    asked: AtomicUsize,
}

impl Source {
    fn serves(&self, keys: &[Value]) {
        *self.answer.lock() = Some(set(keys));
    }

    fn goes_away(&self) {
        *self.answer.lock() = None;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// An authenticator whose only keys are those of the source.
fn of_set(source: &Arc<Source>, algorithms: &[JwtAlgorithm]) -> Authenticator {
    let source = Arc::clone(source);
    let fetch = move || {
        let source = Arc::clone(&source);
        async move {
            source.asked.fetch_add(1, Ordering::Relaxed);
            // As long as a network takes.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let answer = source.answer.lock().clone();
            let host = || "keys.example".to_owned();
            let answer = answer.ok_or_else(|| FetchError::Timeout { host: host() })?;
            let keys = KeySet::parse(answer.as_bytes()).map_err(|source| FetchError::KeySet {
                host: host(),
                source,
            })?;
            Ok(Fetched {
                keys,
                fresh_for: None,
            })
        }
        .boxed()
    };
    let mut config = JwtConfig::default();
    config.keys.push(JwtKeyConfig {
        id: "remote".to_owned(),
        jwks_url: Some("https://keys.example/set".to_owned()),
        algorithms: algorithms.to_vec(),
        ..JwtKeyConfig::default()
    });
    Authenticator {
        rules: Rules::new(&config),
        sets: vec![RemoteSet {
            source: Arc::new(KeySource::new(
                "https://keys.example/set".to_owned(),
                Box::new(fetch),
            )),
            algorithms: algorithms.iter().copied().map(algorithm_of).collect(),
        }],
        ..Authenticator::default()
    }
}

fn start(authenticator: &Authenticator) {
    let (tracker, stopping) = (TaskTracker::new(), CancellationToken::new());
    authenticator.start(&tracker, &stopping, &Arc::new(Metrics::new()));
    // Nothing stops these tests' tasks but their authenticators.
    std::mem::forget(stopping);
}

fn started(source: &Arc<Source>) -> Authenticator {
    let authenticator = of_set(source, &JwtAlgorithm::ASYMMETRIC);
    start(&authenticator);
    authenticator
}

async fn outcome(authenticator: &Authenticator, token: &str) -> Result<(), AuthError> {
    authenticator.authenticate(Some(token)).await.map(drop)
}

fn es256(kid: &str) -> String {
    token(&named(Algorithm::ES256, kid))
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_token_waits_for_the_set_and_the_next_ones_need_not() {
    let source = Arc::new(Source::default());
    source.serves(&[ec_jwk("a"), rsa_jwk("b"), ed_jwk("c")]);
    let authenticator = started(&source);
    assert_eq!(outcome(&authenticator, &es256("a")).await, Ok(()));
    for header in [
        named(Algorithm::RS256, "b"),
        named(Algorithm::PS512, "b"),
        named(Algorithm::EdDSA, "c"),
        Header::new(Algorithm::ES256),
    ] {
        let answer = authenticator
            .authenticate(Some(&token(&header)))
            .now_or_never();
        assert!(answer.unwrap().is_ok(), "{header:?}");
    }
    assert_eq!(source.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_away_is_no_fault_of_the_client() {
    let source = Arc::new(Source::default());
    let authenticator = started(&source);
    let away = outcome(&authenticator, &es256("a")).await.unwrap_err();
    assert_eq!(away, AuthError::KeySourceAway);
    assert_eq!(
        away.close_reason(),
        crate::dialect::CloseReason::Unavailable
    );
    assert_eq!(away.failure().code, crate::dialect::ErrorCode::Unavailable);
    // What the source couldn't have signed is still refused for good.
    let shared = sign(&claims());
    assert_eq!(
        outcome(&authenticator, &shared).await,
        Err(AuthError::UnknownKey)
    );
    assert_eq!(
        outcome(&authenticator, "x").await,
        Err(AuthError::NotAToken)
    );
    // It is asked again and again by itself.
    source.serves(&[ec_jwk("a")]);
    pass(Duration::from_secs(3)).await;
    assert_eq!(outcome(&authenticator, &es256("a")).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_stays_while_the_source_is_away_or_serves_nonsense() {
    let source = Arc::new(Source::default());
    source.serves(&[ec_jwk("a")]);
    let authenticator = started(&source);
    assert_eq!(outcome(&authenticator, &es256("a")).await, Ok(()));
    for answer in [None, Some("<html>".to_owned()), Some(set(&[]))] {
        *source.answer.lock() = answer;
        let asked = source.asked();
        pass(Duration::from_hours(2)).await;
        assert!(source.asked() > asked + 10, "it is asked on and on");
        assert_eq!(outcome(&authenticator, &es256("a")).await, Ok(()));
        assert_eq!(
            outcome(&authenticator, &es256("new")).await,
            Err(AuthError::KeySourceAway)
        );
    }
    source.serves(&[ec_jwk("new")]);
    pass(Duration::from_mins(2)).await;
    assert_eq!(outcome(&authenticator, &es256("new")).await, Ok(()));
    assert_eq!(
        outcome(&authenticator, &token(&named(Algorithm::RS256, "a"))).await,
        Err(AuthError::UnknownKey)
    );
}

#[tokio::test(start_paused = true)]
async fn a_set_is_fetched_again_before_it_is_old() {
    let source = Arc::new(Source::default());
    source.serves(&[ec_jwk("a")]);
    let _authenticator = started(&source);
    pass(Duration::from_secs(200)).await;
    assert_eq!(source.asked(), 1);
    pass(Duration::from_secs(71)).await;
    assert_eq!(source.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_looked_up_at_once_and_all_who_bring_it_share_the_fetch() {
    let source = Arc::new(Source::default());
    source.serves(&[ec_jwk("a")]);
    let authenticator = started(&source);
    assert_eq!(outcome(&authenticator, &es256("a")).await, Ok(()));
    pass(MIN_INTERVAL).await;
    source.serves(&[ec_jwk("a"), ec_jwk("b")]);
    let new = es256("b");
    let all = join_all((0..100).map(|_| outcome(&authenticator, &new))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(source.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn made_up_key_ids_cannot_be_turned_against_the_source() {
    let source = Arc::new(Source::default());
    source.serves(&[ec_jwk("a")]);
    let authenticator = started(&source);
    for number in 0..600 {
        let made_up = token(&named(Algorithm::ES256, &format!("kid-{number}")));
        let refused = outcome(&authenticator, &made_up).await;
        assert_eq!(refused, Err(AuthError::UnknownKey), "{number}");
        pass(Duration::from_millis(100)).await;
    }
    // A minute: once in ten seconds, whatever comes.
    assert!(source.asked() <= 8, "{}", source.asked());
}

#[tokio::test(start_paused = true)]
async fn a_forged_signature_of_a_known_key_asks_nobody() {
    let source = Arc::new(Source::default());
    source.serves(&[rsa_jwk("a"), ec_jwk("a")]);
    let authenticator = started(&source);
    assert_eq!(outcome(&authenticator, &es256("a")).await, Ok(()));
    pass(MIN_INTERVAL).await;
    let mut forged = es256("a");
    forged.truncate(forged.len() - 8);
    forged.push_str("AAAAAAAA");
    assert_eq!(
        outcome(&authenticator, &forged).await,
        Err(AuthError::BadSignature)
    );
    assert_eq!(source.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_algorithms_of_the_config_hold_for_a_set_too() {
    let source = Arc::new(Source::default());
    source.serves(&[rsa_jwk("a"), ec_jwk("b")]);
    let authenticator = of_set(&source, &[JwtAlgorithm::PS256]);
    start(&authenticator);
    let by = |header: Header| token(&header);
    assert_eq!(
        outcome(&authenticator, &by(named(Algorithm::PS256, "a"))).await,
        Ok(())
    );
    for header in [named(Algorithm::RS256, "a"), named(Algorithm::ES256, "b")] {
        assert_eq!(
            outcome(&authenticator, &by(header)).await,
            Err(AuthError::UnknownKey)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_was_fetched_and_an_url_that_is_gone_is_asked_no_more() {
    let source = Arc::new(Source::default());
    source.serves(&[ec_jwk("a")]);
    let before = started(&source);
    assert_eq!(outcome(&before, &es256("a")).await, Ok(()));
    source.goes_away();
    let mut after = of_set(&source, &JwtAlgorithm::ASYMMETRIC);
    after.take_over(&before);
    start(&after);
    drop(before);
    let answer = after.authenticate(Some(&es256("a"))).now_or_never();
    assert!(answer.unwrap().is_ok());
    pass(Duration::from_mins(6)).await;
    let asked = source.asked();
    assert!(asked > 1);
    let mut without = Authenticator::default();
    without.take_over(&after);
    drop(after);
    pass(Duration::from_hours(1)).await;
    assert_eq!(source.asked(), asked);
}

#[test]
fn a_set_whose_url_cannot_be_asked_is_named() {
    for url in [
        "keys.example",
        "ftp://keys.example",
        "https://user:pass@keys.example/",
        "https://",
    ] {
        let mut config = config(vec![key("remote", &JwtAlgorithm::ASYMMETRIC)]);
        config.jwt.as_mut().unwrap().keys[0].jwks_url = Some(url.to_owned());
        let error = Authenticator::new(&config, |_| None)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "key `remote`: its jwksUrl is no http:// or https:// URL without user name and password"
        );
    }
}
