use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json, json};

use super::*;
use crate::room_name::RoomName;

fn claims(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(map) => map,
        other => panic!("claims are an object, not {other}"),
    }
}

fn user(json: Json) -> Subject {
    Subject::new("alice", &claims(json), false)
}

fn room(name: &str) -> RoomFacts {
    RoomFacts::new(&RoomName::parse(name).expect("a room name"))
}

fn evaluate(source: &str, user: &Subject, name: &str) -> Result<bool, EvaluationError> {
    Expression::compile(source)
        .unwrap_or_else(|error| panic!("{source}: {error}"))
        .evaluate(user, &room(name))
}

fn refused(source: &str) -> String {
    match Expression::compile(source) {
        Ok(_) => panic!("{source} compiles"),
        Err(error) => error.to_string(),
    }
}

mod hostile;

#[test]
fn the_usual_policies_answer() {
    let alice = user(json!({
        "teams": ["red", "blue"], "role": "admin", "level": 3,
        "grants": [{"room": "team:red", "can": ["read", "write"]}],
    }));
    let anonymous = Subject::new("x", &Map::new(), true);
    for (source, yes, no) in [
        (
            "room.segments[1] in user.claims.teams",
            "team:red",
            "team:green",
        ),
        ("room.name == 'user:' + user.id", "user:alice", "user:bob"),
        (
            "room.name.matches('^team:(red|blue)$')",
            "team:red",
            "team:reddish",
        ),
        ("matches(room.name, '^team:')", "team:red", "lobby"),
        (
            "room.name.startsWith(\"team:\") && user.claims.level >= 3",
            "team:x",
            "lobby",
        ),
        (
            "has(user.claims.role) && room.name == 'lobby'",
            "lobby",
            "other",
        ),
        (
            "user.claims.grants.exists(g, g.room == room.name && 'write' in g.can)",
            "team:red",
            "a",
        ),
        (
            "user.claims.teams.all(t, t != room.segments[0])",
            "lobby",
            "red",
        ),
        (
            "user.claims.teams.filter(t, t == room.segments[0]).size() == 1",
            "red",
            "green",
        ),
        (
            "user['claims']['role'] == 'admin' ? room.name == 'a' : false",
            "a",
            "b",
        ),
        ("size(room.segments) == 2", "a:b", "a"),
        (r"room.name.matches(r'^\w+$')", "abc", "a:b"),
        ("// a comment\nroom.name == 'a'", "a", "b"),
        ("room.name in ['a', 'b']", "b", "c"),
    ] {
        assert_eq!(evaluate(source, &alice, yes), Ok(true), "{source} in {yes}");
        assert_eq!(evaluate(source, &alice, no), Ok(false), "{source} in {no}");
    }
    assert_eq!(evaluate("!user.anonymous", &alice, "a"), Ok(true));
    assert_eq!(evaluate("!user.anonymous", &anonymous, "a"), Ok(false));
    assert_eq!(evaluate("true", &anonymous, "a"), Ok(true));
}

#[test]
fn what_goes_wrong_at_run_time_denies() {
    let alice = user(json!({"teams": "red", "n": 9_223_372_036_854_775_807_i64, "null": null}));
    for (source, error) in [
        (
            "user.claims.missing == 'x'",
            EvaluationError::MissingKey("missing".into()),
        ),
        (
            "room.segments[7] == 'x'",
            EvaluationError::Failed("index out of bounds"),
        ),
        (
            "user.claims.n + 1 > 0",
            EvaluationError::Failed("integer overflow"),
        ),
        (
            "user.claims.n / 0 == 1",
            EvaluationError::Failed("division by zero"),
        ),
        ("user.claims.teams", EvaluationError::NotBool("a text")),
    ] {
        assert_eq!(evaluate(source, &alice, "lobby"), Err(error), "{source}");
    }
    for source in [
        "'red' in user.claims.teams",
        "user.claims.teams.exists(t, t == 'red')",
        "user.claims['null'].x == 1",
        "int(user.claims.teams) == 1",
        "user.claims.teams && true",
        "user.claims.missing && true",
    ] {
        assert!(evaluate(source, &alice, "lobby").is_err(), "{source}");
    }
}

#[test]
fn errors_tell_no_claim() {
    let alice = user(json!({"secret": "hunter2"}));
    for source in [
        "user.claims.secret < 1",
        "user.claims.secret + 1 == 2",
        "int(user.claims.secret) == 1",
        "user.claims[user.claims.secret] == 1",
        "{user.claims.secret: 1, user.claims.secret: 2}.size() == 1",
    ] {
        let error = evaluate(source, &alice, "lobby").expect_err(source);
        // A key that was looked up is the one value that is told; it names what is missing.
        if !matches!(error, EvaluationError::MissingKey(_)) {
            assert!(!error.to_string().contains("hunter2"), "{source}: {error}");
        }
    }
    assert!(!format!("{alice:?}").contains("hunter2"));
}

#[test]
fn mistakes_say_where_they_are_and_what_to_write() {
    for (source, expected) in [
        (
            "user.claim.team == 'x'",
            "line 1, column 5: `user` has no field `claim`: did you mean `user.claims`?",
        ),
        (
            "user.team == 'x'",
            "`user` has no field `team`: what the token says is under `user.claims`: `user.claims.team`",
        ),
        (
            "room.segment[0] == 'x'",
            "`room` has no field `segment`: did you mean `room.segments`?",
        ),
        ("user['claim'] == 'x'", "`user` has no field `claim`"),
        (
            "users.id == 'x'",
            "line 1, column 1: unknown name `users`: did you mean `user`?",
        ),
        (
            "lobby == room.name",
            "unknown name `lobby`: there are `user` and `room`; text goes in quotes",
        ),
        (
            "true &&\n  foo == 1",
            "line 2, column 3: unknown name `foo`",
        ),
        (
            "'ä' == room.name && foo == 1",
            "line 1, column 21: unknown name `foo`",
        ),
        (
            "room.name.startswith('a')",
            "unknown function `startswith`: did you mean `startsWith`?",
        ),
        (
            "room.name.exists('a')",
            "`exists` is called with the wrong arguments",
        ),
        (
            "user.id",
            "an access expression has to be true or false, this is a text",
        ),
        ("1 + 1", "has to be true or false, this is a number"),
        (
            "user.anonymous == 'false'",
            "true or false is never equal to a text",
        ),
        (
            "user.id && true",
            "a side of `&&` or `||` has to be true or false",
        ),
        (
            "!room.name",
            "what `!` turns around has to be true or false",
        ),
        ("'a' in room.name", "use contains"),
        (
            "user.id.first == 'x'",
            "`first` can't be looked up in a text",
        ),
        (
            "user.claims.teams.map(t, t.id).size() > 0",
            "`map` isn't supported in access expressions: use `exists`",
        ),
        ("room.name.matches(user.id)", "`matches` takes one pattern"),
        (
            "room.name.matches('(')",
            "the pattern can't be read: unclosed group",
        ),
        (
            "room.name.matches('(a{1000}){1000}')",
            "the pattern is too large",
        ),
        (
            "room.name == 'a",
            "line 1, column 14: this string has no end",
        ),
        (
            r"room.name == '\d'",
            r"starts nothing that strings know: write `\\`, or a raw string: r'…'",
        ),
        ("room.name == b'a'", "bytes aren't supported"),
        (
            "room.name == '''a'''",
            "strings in three quotes aren't supported",
        ),
        ("room.name = 'a'", "line 1, column"),
        ("room.name == ", "line 1"),
        ("user.anonymous == true)", "line 1"),
        ("a#b", "'#' has no meaning here"),
        ("", "the expression is empty"),
        ("  // nothing", "the expression is empty"),
        ("room.?name == 'a'", "line 1"),
        ("optional.of(1) == 1", "unknown function `of`"),
        ("Foo{a: 1} == 1", "messages aren't supported"),
        (
            "timestamp('2024-01-01T00:00:00Z') == 1",
            "unknown function `timestamp`",
        ),
    ] {
        let error = refused(source);
        assert!(
            error.contains(expected),
            "{source}\n  says: {error}\n  not:  {expected}"
        );
        assert!(!error.contains('\n'), "one line: {error}");
    }
}

#[test]
fn a_loop_variable_may_have_any_name() {
    let alice = user(json!({"teams": [{"claim": "a"}]}));
    let source = "user.claims.teams.exists(room, room.claim == 'a')";
    assert_eq!(evaluate(source, &alice, "lobby"), Ok(true));
}

#[test]
fn equal_expressions_of_a_room_are_compiled_once() {
    let access = AccessConfig::default();
    let rules = AccessRules::compile(&access).expect("the defaults compile");
    let first = rules.expression(Action::Join);
    for action in Action::ALL {
        assert!(std::ptr::eq(first, rules.expression(action)));
        assert!(!rules.allows(action, &Subject::new("x", &Map::new(), true), &room("a")));
    }
}

#[test]
fn a_rooms_mistake_names_the_field() {
    let access = AccessConfig {
        history: "user.clams.x".to_owned(),
        ..AccessConfig::default()
    };
    let error = AccessRules::compile(&access).expect_err("a mistake");
    assert_eq!(error.action, Action::History);
    assert!(
        error
            .to_string()
            .starts_with("spec.access.history: line 1, column 5: "),
        "{error}"
    );
}

#[test]
fn expressions_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Expression>();
    shared::<AccessRules>();
    shared::<Subject>();
    shared::<RoomFacts>();
}

/// Not a benchmark proper: says with `--nocapture` what a check costs, and fails only if that is out of all proportion.
#[test]
fn a_check_takes_microseconds() {
    let alice = user(json!({"teams": ["red", "green", "blue"], "role": "admin"}));
    let facts = room("team:blue");
    for source in [
        "!user.anonymous",
        "room.segments[1] in user.claims.teams",
        "user.claims.teams.exists(t, t == room.segments[1])",
        "room.name.matches('^team:[a-z]+$')",
    ] {
        let expression = Expression::compile(source).expect("compiles");
        let rounds: u32 = 2000;
        let started = Instant::now();
        for _ in 0..rounds {
            assert_eq!(expression.evaluate(&alice, &facts), Ok(true));
        }
        let each = started.elapsed() / rounds;
        println!("{source}: {each:?}");
        assert!(each < Duration::from_millis(2), "{source}: {each:?}");
    }
}
