use super::*;
use crate::test_api::TestApi;

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/rotunda-system/leases/rotunda-operator";

fn elector(api: &TestApi, identity: &str) -> Elector {
    Elector::new(
        api.client(),
        "rotunda-system",
        "rotunda-operator",
        identity.into(),
        Timing::default(),
    )
}

fn holder(api: &TestApi) -> String {
    let lease = api.get(PATH).expect("a lease");
    lease["spec"]["holderIdentity"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test(start_paused = true)]
async fn second_replica_waits_while_the_first_renews() {
    let api = TestApi::default();
    let first = elector(&api, "first").acquire().await;
    let stop = CancellationToken::new();
    let holding = tokio::spawn(first.hold(stop.clone()));
    let second = elector(&api, "second");
    let waited = tokio::time::timeout(Duration::from_mins(2), second.acquire()).await;
    assert!(waited.is_err(), "a renewed lease must not be taken");
    assert_eq!(holder(&api), "first");
    stop.cancel();
    holding.await.expect("no panic").expect("not lost");
}

#[tokio::test(start_paused = true)]
async fn released_lease_is_taken_at_once() {
    let api = TestApi::default();
    let first = elector(&api, "first").acquire().await;
    let stop = CancellationToken::new();
    stop.cancel();
    first.hold(stop).await.expect("released");
    let asked = Instant::now();
    elector(&api, "second").acquire().await;
    assert_eq!(holder(&api), "second");
    assert!(asked.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn lease_of_a_dead_holder_is_taken_after_its_duration() {
    let api = TestApi::default();
    elector(&api, "dead").acquire().await;
    let asked = Instant::now();
    elector(&api, "second").acquire().await;
    let waited = asked.elapsed();
    assert!(
        waited >= Duration::from_secs(15) && waited < Duration::from_secs(20),
        "{waited:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn holder_ends_when_another_took_the_lease() {
    let api = TestApi::default();
    let first = elector(&api, "first").acquire().await;
    let mut lease = api.get(PATH).expect("a lease");
    lease["spec"]["holderIdentity"] = "thief".into();
    api.put(PATH, lease);
    let lost = first
        .hold(CancellationToken::new())
        .await
        .expect_err("lost");
    assert!(matches!(lost, Lost::Taken(holder) if holder == "thief"));
}

#[tokio::test(start_paused = true)]
async fn holder_ends_before_the_lease_runs_out_when_it_cannot_renew() {
    let api = TestApi::default();
    let first = elector(&api, "first").acquire().await;
    api.refuse("", 503);
    let since = Instant::now();
    let lost = first
        .hold(CancellationToken::new())
        .await
        .expect_err("lost");
    assert!(matches!(lost, Lost::NotRenewed(_)));
    assert!(since.elapsed() < Timing::default().lease);
}
