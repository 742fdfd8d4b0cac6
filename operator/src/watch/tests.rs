use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;

use super::*;

fn object(namespace: &str, name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            namespace: Some(namespace.into()),
            name: Some(name.into()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

/// Plays `events` of two watches, `a` and `b`, and returns what a consumer is told.
async fn play(events: Vec<(usize, Event<ConfigMap>)>) -> (Vec<String>, Vec<String>) {
    let mut parts: [Vec<_>; 2] = [vec![], vec![]];
    // One channel a watch, fed in the order given, so that the interleaving is that of `events`.
    let (first, second) = (
        futures::channel::mpsc::unbounded(),
        futures::channel::mpsc::unbounded(),
    );
    let senders = [first.0, second.0];
    let told = std::sync::Arc::new(parking_lot::Mutex::new(Vec::new()));
    let (store, writer) = reflector::store();
    let record = {
        let told = told.clone();
        move |change: Change<ConfigMap>| {
            let sign = match &change {
                Change::Seen(_) => "+",
                Change::Gone(_) => "-",
            };
            told.lock()
                .push(format!("{sign}{}", change.object().name_any()));
        }
    };
    let following = tokio::spawn(follow("ConfigMap", vec![first.1, second.1], writer, record));
    for (watch, event) in events {
        parts[watch].push(());
        senders[watch]
            .unbounded_send(Ok(event))
            .expect("the follower is alive");
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
    }
    drop(senders);
    following.await.expect("ends with its watches");
    let mut names: Vec<String> = store
        .state()
        .iter()
        .map(|object| object.name_any())
        .collect();
    names.sort();
    let told = told.lock().clone();
    (told, names)
}

#[tokio::test]
async fn nothing_is_told_before_every_namespace_is_listed() {
    let (told, store) = play(vec![
        (0, Event::Init),
        (0, Event::InitApply(object("a", "one"))),
        (0, Event::InitDone),
        (1, Event::Init),
    ])
    .await;
    assert!(told.is_empty());
    assert!(store.is_empty());
}

#[tokio::test]
async fn changes_before_the_last_list_are_part_of_the_first_list() {
    let (mut told, store) = play(vec![
        (0, Event::Init),
        (0, Event::InitApply(object("a", "one"))),
        (0, Event::InitDone),
        (0, Event::Apply(object("a", "two"))),
        (0, Event::Delete(object("a", "one"))),
        (1, Event::Init),
        (1, Event::InitApply(object("b", "three"))),
        (1, Event::InitDone),
    ])
    .await;
    told.sort();
    assert_eq!(told, ["+three", "+two"]);
    assert_eq!(store, ["three", "two"]);
}

#[tokio::test]
async fn relisting_one_namespace_keeps_the_objects_of_the_other() {
    let (told, store) = play(vec![
        (0, Event::Init),
        (0, Event::InitApply(object("a", "one"))),
        (0, Event::InitDone),
        (1, Event::Init),
        (1, Event::InitApply(object("b", "two"))),
        (1, Event::InitDone),
        (0, Event::Init),
        (0, Event::InitApply(object("a", "three"))),
        (0, Event::InitDone),
    ])
    .await;
    assert_eq!(told[2..], ["-one", "+three"]);
    assert_eq!(store, ["three", "two"]);
}

#[tokio::test]
async fn an_object_that_does_not_parse_is_reported_and_left_out() {
    let parse =
        |json| serde_json::from_value::<DeserializeGuard<ConfigMap>>(json).expect("guarded");
    let events = stream::iter(vec![
        Ok(Event::Apply(parse(
            serde_json::json!({ "metadata": { "name": "bad" }, "data": 7 }),
        ))),
        Ok(Event::Apply(parse(
            serde_json::json!({ "metadata": { "name": "good" } }),
        ))),
    ]);
    let reported = parking_lot::Mutex::new(Vec::new());
    let left: Vec<_> = valid(events, |invalid| {
        reported.lock().push(invalid.metadata.name.clone());
    })
    .collect()
    .await;
    assert_eq!(*reported.lock(), [Some("bad".to_owned())]);
    assert_eq!(left.len(), 1);
}
