//! CEL expressions of Room resources: written by whoever may create one.

use rotunda_crds::RoomName;
use rotunda_crds::access::{Expression, RoomFacts, Subject};
use serde_json::json;

/// What compiles can be evaluated, with an answer or an error, for any user.
pub(super) fn expression(input: &[u8]) {
    let Ok(source) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(expression) = Expression::compile(source) else {
        return;
    };
    assert_eq!(expression.source(), source);
    let claims =
        json!({ "teams": ["a", "b"], "level": 3, "name": "x", "nested": { "a": [1.5, null] } });
    let claims = claims.as_object().expect("it is one");
    let name = RoomName::parse("team:a").expect("a fine name");
    let room = RoomFacts::new(&name);
    for subject in [
        Subject::new("alice", claims, false),
        Subject::new("guest", &serde_json::Map::new(), true),
    ] {
        // An error denies.
        drop(expression.evaluate(&subject, &room));
    }
}
