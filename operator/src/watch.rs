//! Watching: a kind in all namespaces or in a list of them becomes one stream of watch events, for one store.
//!
//! In comes the watch of each namespace, out comes what a single watch would have told: one initial list once every
//! namespace has been listed, afterwards only changes. Objects that don't parse are handed to a callback and left out,
//! so that one bad object never stops the watch. Knows nothing about what the objects mean.

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    pin::pin,
};

use futures::{Stream, StreamExt, future::ready, stream, stream::SelectAll};
use kube::{
    Resource, ResourceExt,
    core::{DeserializeGuard, error_boundary::InvalidObject},
    runtime::{
        WatchStreamExt,
        reflector::{self, ObjectRef},
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;

/// One event of one namespace's watch.
type Tagged<K> = (usize, Event<K>);

/// What a consumer of a merged watch has to react to.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<K> {
    /// The object is there: new, changed, or listed again.
    Seen(K),
    /// The object is gone.
    Gone(K),
}

impl<K> Change<K> {
    /// The object, there or gone.
    pub fn object(&self) -> &K {
        match self {
            Self::Seen(object) | Self::Gone(object) => object,
        }
    }
}

/// Where to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All namespaces.
    All,
    /// These only; not empty.
    Namespaces(Vec<String>),
}

impl Scope {
    /// One `Api` for each watch that has to be run.
    pub fn apis<K>(&self, client: &kube::Client) -> Vec<kube::Api<K>>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match self {
            Self::All => vec![kube::Api::all(client.clone())],
            Self::Namespaces(names) => names
                .iter()
                .map(|name| kube::Api::namespaced(client.clone(), name))
                .collect(),
        }
    }
}

/// Drops what didn't parse from a guarded watch, after telling `on_invalid`.
pub fn valid<K, S, F>(
    events: S,
    on_invalid: F,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    S: Stream<Item = Result<Event<DeserializeGuard<K>>, watcher::Error>>,
    F: Fn(&InvalidObject),
{
    events.filter_map(move |event| {
        let parse = |guard: DeserializeGuard<K>| match guard.0 {
            Ok(object) => Some(object),
            Err(invalid) => {
                on_invalid(&invalid);
                None
            }
        };
        ready(match event {
            Ok(Event::Apply(guard)) => parse(guard).map(|object| Ok(Event::Apply(object))),
            Ok(Event::InitApply(guard)) => parse(guard).map(|object| Ok(Event::InitApply(object))),
            Ok(Event::Delete(guard)) => guard.0.ok().map(|object| Ok(Event::Delete(object))),
            Ok(Event::Init) => Some(Ok(Event::Init)),
            Ok(Event::InitDone) => Some(Ok(Event::InitDone)),
            Err(error) => Some(Err(error)),
        })
    })
}

/// Follows `watches` for ever (or until they end), keeps `writer` up to date, and tells `on_change` what changed. Changes are
/// told after the store has them, except for the initial list, which the store takes up as a whole after its last object.
/// Errors of a watch are logged and retried with backoff.
pub async fn follow<K, S>(
    kind: &'static str,
    watches: Vec<S>,
    mut writer: reflector::store::Writer<K>,
    mut on_change: impl FnMut(Change<K>),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
    S: Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
{
    let store = writer.as_reader();
    let mut merge = Merge::new(watches.len());
    let mut events = pin!(merged(kind, watches));
    while let Some((watch, event)) = events.next().await {
        for step in merge.feed(watch, event) {
            let event = match step {
                Step::Event(event) => event,
                Step::Vanished((namespace, name)) => {
                    let mut object = ObjectRef::new(&name);
                    object.namespace = namespace;
                    let Some(gone) = store.get(&object) else {
                        continue;
                    };
                    Event::Delete(gone.as_ref().clone())
                }
            };
            // Only the API server needs them, and they are as large as the object itself.
            let event = event.modify(|object| object.meta_mut().managed_fields = None);
            writer.apply_watcher_event(&event);
            match event {
                Event::Apply(object) | Event::InitApply(object) => on_change(Change::Seen(object)),
                Event::Delete(object) => on_change(Change::Gone(object)),
                Event::Init | Event::InitDone => {}
            }
        }
    }
}

fn merged<K, S>(kind: &'static str, watches: Vec<S>) -> impl Stream<Item = Tagged<K>>
where
    K: Resource + Clone + Debug + Send + 'static,
    S: Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
{
    let mut all = SelectAll::new();
    for (number, watch) in watches.into_iter().enumerate() {
        let tagged = watch.default_backoff().filter_map(move |event| {
            ready(match event {
                Ok(event) => Some((number, event)),
                Err(error) => {
                    tracing::warn!(kind, %error, "watch failed; trying again");
                    None
                }
            })
        });
        all.push(tagged.boxed());
    }
    if all.is_empty() {
        stream::pending().boxed()
    } else {
        all.boxed()
    }
}

/// Merges the protocols of several watches into that of one.
struct Merge<K> {
    parts: Vec<Part<K>>,
    initialised: bool,
}

/// What is known of one watch.
struct Part<K> {
    /// Objects of a list that isn't complete, or that waits for the lists of the other watches.
    listing: HashMap<Identity, K>,
    known: HashSet<Identity>,
    listed: bool,
}

/// What the merged watch tells.
#[derive(Debug)]
enum Step<K> {
    Event(Event<K>),
    /// Was there before the watch was interrupted, and isn't any more.
    Vanished(Identity),
}

/// Namespace, name.
type Identity = (Option<String>, String);

fn identity<K: Resource>(object: &K) -> Identity {
    (object.namespace(), object.name_any())
}

impl<K: Resource> Merge<K> {
    fn new(watches: usize) -> Self {
        let part = || Part {
            listing: HashMap::new(),
            known: HashSet::new(),
            listed: false,
        };
        Self {
            parts: (0..watches).map(|_| part()).collect(),
            initialised: false,
        }
    }

    fn feed(&mut self, watch: usize, event: Event<K>) -> Vec<Step<K>> {
        let part = &mut self.parts[watch];
        let object = match event {
            Event::Init => {
                part.listing.clear();
                part.listed = false;
                return Vec::new();
            }
            Event::InitApply(object) => {
                part.listing.insert(identity(&object), object);
                return Vec::new();
            }
            Event::InitDone if self.initialised => return part.relisted(),
            Event::InitDone => {
                part.listed = true;
                return if self.parts.iter().all(|part| part.listed) {
                    self.initialise()
                } else {
                    Vec::new()
                };
            }
            Event::Apply(ref object) | Event::Delete(ref object) => identity(object),
        };
        match event {
            Event::Apply(applied) if !self.initialised => {
                part.listing.insert(object, applied);
                return Vec::new();
            }
            Event::Apply(_) => part.known.insert(object),
            _ if !self.initialised => {
                part.listing.remove(&object);
                return Vec::new();
            }
            _ => part.known.remove(&object),
        };
        vec![Step::Event(event)]
    }

    fn initialise(&mut self) -> Vec<Step<K>> {
        self.initialised = true;
        let mut steps = vec![Step::Event(Event::Init)];
        for part in &mut self.parts {
            part.known = part.listing.keys().cloned().collect();
            steps.extend(
                part.listing
                    .drain()
                    .map(|(_, object)| Step::Event(Event::InitApply(object))),
            );
        }
        steps.push(Step::Event(Event::InitDone));
        steps
    }
}

impl<K> Part<K> {
    /// The difference between the list just completed and what was known before.
    fn relisted(&mut self) -> Vec<Step<K>> {
        let before = std::mem::replace(&mut self.known, self.listing.keys().cloned().collect());
        let vanished = before
            .into_iter()
            .filter(|key| !self.listing.contains_key(key))
            .map(Step::Vanished);
        let mut steps: Vec<_> = vanished.collect();
        steps.extend(
            self.listing
                .drain()
                .map(|(_, object)| Step::Event(Event::Apply(object))),
        );
        steps
    }
}

#[cfg(test)]
mod tests;
