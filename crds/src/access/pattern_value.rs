//! Patterns of `matches`, compiled once with a limit on their size.

use std::any::Any;

use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        types::{CelBool, CelString, Kind, STRING_TYPE, Type},
        value::{CowVal, StaticVal, Val},
    },
};
use regex::{Regex, RegexBuilder};

/// Most bytes that a compiled pattern may take.
const MAX_COMPILED: usize = 1024 * 1024;

static TYPE: Type = Type::simple_type(Kind::Opaque, "pattern");

/// A compiled pattern, as a value that only `matches` takes.
#[derive(Debug, Clone)]
pub(super) struct PatternValue(Regex);

impl PatternValue {
    /// Compiles a pattern; an error is for the user.
    pub(super) fn compile(pattern: &str) -> Result<Self, String> {
        RegexBuilder::new(pattern)
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_COMPILED)
            .nest_limit(32)
            .build()
            .map(Self)
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => {
                    "the pattern is too large: write smaller repetitions".to_owned()
                }
                // The last line of the crate's text says what; those before draw a picture.
                other => {
                    let text = other.to_string();
                    let what = text
                        .lines()
                        .last()
                        .unwrap_or_default()
                        .trim_start_matches("error: ")
                        .to_owned();
                    format!("the pattern can't be read: {what}")
                }
            })
    }
}

impl Val for PatternValue {
    fn get_type(&self) -> &Type {
        &TYPE
    }

    fn cel_type() -> &'static Type {
        &TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for PatternValue {}

/// Name of the variable that holds a pattern. No expression can spell it.
pub(super) fn variable(index: usize) -> String {
    format!("@pattern{index}")
}

/// Index of the pattern that a variable holds.
pub(super) fn index(variable: &str) -> Option<usize> {
    variable.strip_prefix("@pattern")?.parse().ok()
}

/// Lets `matches` take compiled patterns.
pub(super) fn extension(env: &mut Env) -> Result<(), DeclarationError> {
    let types = || vec![STRING_TYPE, Type::simple_type(Kind::Opaque, "pattern")];
    env.add_overload("matches", "matches_pattern", types(), matches)?;
    let mut arguments = types();
    let target = arguments.remove(0);
    env.add_member_overload(
        "matches",
        "string_matches_pattern",
        target,
        arguments,
        matches,
    )
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the signature of an overload"
)]
fn matches<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (Some(text), Some(pattern)) = (
        arguments
            .first()
            .and_then(|text| text.downcast_ref::<CelString<'_>>()),
        arguments
            .get(1)
            .and_then(|pattern| pattern.downcast_ref::<PatternValue>()),
    ) else {
        return Err(ExecutionError::MissingArgumentOrTarget);
    };
    Ok(CowVal::owned(CelBool::from(
        pattern.0.is_match(text.inner()),
    )))
}
