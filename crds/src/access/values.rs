//! What an expression is about: a user and a room, as CEL values made once and used for many checks.

use std::{collections::HashMap, fmt, sync::Arc};

use cel::common::{
    types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt},
    value::Val,
};
use serde_json::{Map, Value};

use crate::room_name::RoomName;

/// Most values (elements, entries) in a user's claims.
pub const MAX_CLAIM_VALUES: usize = 2000;
/// Most bytes of text in a user's claims. A token comes in a header, which is smaller.
pub const MAX_CLAIM_BYTES: usize = 32 * 1024;
/// Deepest nesting of a user's claims.
pub const MAX_CLAIM_DEPTH: usize = 16;

/// A user, as expressions see one. Make it once for a connection; cloning is cheap.
#[derive(Clone)]
pub struct Subject {
    value: Arc<CelMap<'static>>,
    pub(super) size: ClaimSize,
}

/// How much an expression may have to look at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClaimSize {
    /// Values in all.
    pub(super) values: usize,
    /// Bytes of text in all.
    pub(super) bytes: usize,
    /// Entries of the longest list or map.
    pub(super) longest: usize,
    /// Whether the claims were past a maximum and left out.
    pub(super) too_large: bool,
}

impl Subject {
    /// A user with an id and the claims of its token. Claims past a maximum are left out, and every check is denied.
    pub fn new(id: &str, claims: &Map<String, Value>, anonymous: bool) -> Self {
        let mut size = ClaimSize::default();
        let claims = object(claims, 0, &mut size).unwrap_or_else(|| {
            size = ClaimSize {
                too_large: true,
                ..ClaimSize::default()
            };
            Box::new(CelMap::from(HashMap::new()))
        });
        size.bytes += id.len();
        let value = HashMap::from([
            (key("id"), string(id)),
            (key("claims"), claims),
            (
                key("anonymous"),
                Box::new(CelBool::from(anonymous)) as Boxed,
            ),
        ]);
        Self {
            value: Arc::new(CelMap::from(value)),
            size,
        }
    }

    pub(super) fn value(&self) -> &CelMap<'static> {
        &self.value
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Claims are the user's business.
        f.debug_struct("Subject")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// A room, as expressions see one. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RoomFacts {
    value: Arc<CelMap<'static>>,
    pub(super) segments: usize,
}

impl RoomFacts {
    /// The facts about a room of that name.
    pub fn new(name: &RoomName) -> Self {
        let segments: Vec<Boxed> = name.segments().map(string).collect();
        let count = segments.len();
        let value = HashMap::from([
            (key("name"), string(name.as_str())),
            (key("segments"), Box::new(CelList::from(segments)) as Boxed),
        ]);
        Self {
            value: Arc::new(CelMap::from(value)),
            segments: count,
        }
    }

    pub(super) fn value(&self) -> &CelMap<'static> {
        &self.value
    }
}

type Boxed = Box<dyn Val>;

fn key(text: &str) -> CelMapKey<'static> {
    CelMapKey::from(text.to_owned())
}

fn string(text: &str) -> Boxed {
    Box::new(CelString::from(text.to_owned()))
}

/// A JSON value as CEL sees it, `None` past a maximum. Whole numbers are ints where they fit.
fn value(json: &Value, depth: usize, size: &mut ClaimSize) -> Option<Boxed> {
    size.values += 1;
    if depth > MAX_CLAIM_DEPTH || size.values > MAX_CLAIM_VALUES || size.bytes > MAX_CLAIM_BYTES {
        return None;
    }
    Some(match json {
        Value::Null => Box::new(CelNull),
        Value::Bool(b) => Box::new(CelBool::from(*b)),
        Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(int), _) => Box::new(CelInt::from(int)),
            (None, Some(uint)) => Box::new(CelUInt::from(uint)),
            (None, None) => Box::new(CelDouble::from(n.as_f64()?)),
        },
        Value::String(text) => {
            size.bytes += text.len();
            string(text)
        }
        Value::Array(items) => {
            size.longest = size.longest.max(items.len());
            let items: Option<Vec<Boxed>> = items
                .iter()
                .map(|item| value(item, depth + 1, size))
                .collect();
            Box::new(CelList::from(items?))
        }
        Value::Object(entries) => object(entries, depth, size)?,
    })
}

fn object(entries: &Map<String, Value>, depth: usize, size: &mut ClaimSize) -> Option<Boxed> {
    size.longest = size.longest.max(entries.len());
    let mut map = HashMap::with_capacity(entries.len().min(MAX_CLAIM_VALUES));
    for (name, json) in entries {
        size.bytes += name.len();
        map.insert(key(name), value(json, depth + 1, size)?);
    }
    Some(Box::new(CelMap::from(map)))
}
