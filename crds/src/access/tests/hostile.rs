//! Expressions and claims that try to do harm: none may panic, overflow the stack or take long.

use proptest::prelude::*;

use super::*;

/// Expressions that would make a recursive parser or interpreter overflow, by repetition.
fn hostile() -> Vec<String> {
    let mut all = Vec::new();
    for count in [4, 10, 15, 18, 100, 299, 1000, 5000, 100_000] {
        for (open, middle, close) in [
            ("(", "true", ")"),
            ("[", "1", "]"),
            ("{1:", "1", "}"),
            ("!", "true", ""),
            ("-", "1", ""),
            ("- ", "1", ""),
            ("1+", "1", ""),
            ("true?true:", "true", ""),
            ("true?", "true", ":true"),
            ("true||", "true", ""),
            ("true&&", "true", ""),
            ("", "user.claims", ".a"),
            ("", "user.claims", "['a']"),
            ("", "user.claims", ".exists(x,x)"),
            ("", "user.claims", ".filter(x,true)"),
            ("[1].exists(x,", "true", ")"),
            ("size(", "1", ")"),
            ("has(", "user.claims.a", ")"),
            ("a(", "", ""),
            ("\"\\z\"(", "", ""),
            ("'", "(", ""),
            ("1 in [", "1", "]"),
            ("1==", "1", ""),
            ("", "true", "==true"),
            ("false?true:", "true", ""),
            ("true==(", "true", ")"),
            ("true&&!(", "true", ")"),
            ("1.1", "", ""),
            (".a", "", ""),
            ("a.", "", "{"),
            ("//\n", "true", ""),
            ("😀", "", ""),
            ("\0", "", ""),
        ] {
            all.push(format!(
                "{}{middle}{}",
                open.repeat(count),
                close.repeat(count)
            ));
        }
    }
    all
}

#[test]
fn hostile_expressions_are_answered_in_time_on_a_small_stack() {
    let run = || {
        let alice = user(json!({"a": {"a": {"a": [[[1]]]}}, "list": [[1, 2], [3]]}));
        for source in hostile() {
            let started = Instant::now();
            let short: String = source.chars().take(40).collect();
            if let Ok(expression) = Expression::compile(&source) {
                drop(expression.evaluate(&alice, &room("a:b")));
            }
            let took = started.elapsed();
            assert!(took < Duration::from_secs(5), "{short}… took {took:?}");
        }
    };
    // Half of what a Tokio worker has.
    let thread = std::thread::Builder::new()
        .stack_size(1024 * 1024)
        .spawn(run);
    thread
        .expect("a thread")
        .join()
        .expect("no panic, no overflow");
}

#[test]
fn nested_loops_over_many_claims_are_too_costly_and_one_loop_is_not() {
    let teams: Vec<String> = (0..1500).map(|n| format!("team-{n}")).collect();
    let alice = user(json!({ "teams": teams }));
    let one = "user.claims.teams.exists(t, t == room.name)";
    assert_eq!(evaluate(one, &alice, "team-1499"), Ok(true));
    let nested = "user.claims.teams.all(a, user.claims.teams.exists(b, a == b))";
    assert_eq!(
        evaluate(nested, &alice, "x"),
        Err(EvaluationError::TooCostly)
    );
    let few = user(json!({"teams": ["a", "b", "c"]}));
    assert_eq!(evaluate(nested, &few, "x"), Ok(true));
}

#[test]
fn the_costliest_check_within_the_budget_is_quick() {
    let items: Vec<u32> = (0..80).collect();
    let alice = user(json!({ "list": items }));
    let source = "user.claims.list.all(a, user.claims.list.all(b, a + b >= 0))";
    let expression = Expression::compile(source).expect("compiles");
    let started = Instant::now();
    assert_eq!(expression.evaluate(&alice, &room("x")), Ok(true));
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn claims_past_a_maximum_deny_everything() {
    let many: Vec<u32> = (0..3000).collect();
    let long = "x".repeat(40_000);
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    for claims in [
        json!({ "a": many }),
        json!({"a": long, "b": 1}),
        json!({ "a": deep }),
    ] {
        let error = evaluate("true", &user(claims), "x");
        assert_eq!(error, Err(EvaluationError::ClaimsTooLarge));
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_compiler_panic(source in "\\PC{0,200}") {
        drop(Expression::compile(&source));
    }

    #[test]
    fn no_mix_of_tokens_makes_anything_panic(
        tokens in proptest::collection::vec(
            proptest::sample::select(vec![
                "user", "room", ".claims", ".name", ".segments", ".id", "[0]", "['a']", "(", ")", "[", "]", "{", "}", ":",
                ",", "==", "!=", "<", "&&", "||", "!", "-", "+", "*", "/", "%", "?", " in ", "1", "1.5", "2u", "'a'", "true",
                "null", ".exists(x,", ".all(x,", ".filter(x,", "x", ".size()", "has(", "size(", "string(", "int(", ".matches('a+')",
            ]),
            0..40,
        ),
    ) {
        let source = tokens.concat();
        if let Ok(expression) = Expression::compile(&source) {
            let alice = user(json!({"a": [1, "b", {"c": null}], "teams": ["x"]}));
            drop(expression.evaluate(&alice, &room("a:b")));
        }
    }
}

#[test]
fn text_can_be_joined_and_matched_only_as_often_as_it_is_written() {
    let alice = user(json!({ "text": "a".repeat(30_000) }));
    let join = format!("({}).size() > 0", ["user.claims.text"; 8].join(" + "));
    let doubled = "user.claims.text.contains(user.claims.text + user.claims.text) || true";
    for source in [
        join.as_str(),
        doubled,
        "!user.claims.text.matches('^(a+)+$x')",
        "!user.claims.text.matches('(a|aa|a?)*b$')",
        "user.claims.text.matches('^[a-z]*.*a.*a.*$')",
    ] {
        let started = Instant::now();
        assert_eq!(evaluate(source, &alice, "x"), Ok(true), "{source}");
        let took = started.elapsed();
        assert!(took < Duration::from_secs(5), "{source} took {took:?}");
    }
}

#[test]
fn claims_cannot_stand_in_for_who_the_user_is_or_which_room_it_is() {
    let mallory = user(json!({
        "user": { "id": "root", "anonymous": false }, "room": { "name": "vault" },
        "id": "root", "sub": "root", "anonymous": true, "name": "vault", "segments": ["vault"],
        "claims": { "role": "admin" }, "@pattern0": ".*", "@result": true,
    }));
    for source in [
        "user.id == 'root'",
        "user.anonymous",
        "room.name == 'vault'",
        "room.segments[0] == 'vault'",
        "has(user.claims.role)",
        "room.name.matches('^vault$')",
    ] {
        assert_eq!(evaluate(source, &mallory, "lobby"), Ok(false), "{source}");
    }
    assert_eq!(
        evaluate("user.claims.id == 'root'", &mallory, "lobby"),
        Ok(true)
    );
}

#[test]
fn a_rooms_name_is_compared_as_it_is_written() {
    for other in [
        "team:rеd",
        "team:red\u{200b}",
        "team:red\0",
        "team:r\u{301}",
        "team: red",
    ] {
        assert!(RoomName::parse(other).is_err(), "{other:?}");
    }
    let red = user(json!({ "teams": ["red", "a:b"] }));
    let source = "room.segments[1] in user.claims.teams";
    for (name, allowed) in [
        ("team:red", true),
        ("team:%72ed", false),
        ("team:RED", false),
        ("team:a%3Ab", false),
    ] {
        assert_eq!(evaluate(source, &red, name), Ok(allowed), "{name}");
    }
    // No other spelling makes a user's room, or one beside it that is open to others.
    for spelling in [
        "user:%61lice",
        "user:alice%2f",
        "user:alice:x",
        "user:%",
        "user:",
    ] {
        let room = RoomName::parse(spelling);
        let closed = |room: &RoomName| room.is_reserved() && !room.is_room_of("alice");
        assert!(room.as_ref().map_or(true, closed), "{spelling}");
    }
}
