//! Who may do what in a room: CEL expressions of a Room, compiled once and evaluated for each join or publish.
//!
//! An expression sees `user.id`, `user.claims`, `user.anonymous`, `room.name` and `room.segments`, and the standard
//! operators, `has`, `exists`, `exists_one`, `all`, `filter`, `size`, `contains`, `startsWith`, `endsWith`, `matches` and
//! conversions. Whatever goes wrong denies: a missing claim, a type that doesn't fit, an answer that isn't a bool.
//!
//! Expressions and claims come from outside. What is accepted can't overflow the stack (lengths and depths are checked
//! before the parser runs), can't take long (its [cost](cost) is known before it runs) and can't grow values without bound.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
    thread,
};

use cel::{
    Context, Env, IdedExpr, Value,
    common::{types::CelBool, value::CowVal},
    context::VariableResolver,
};
use thiserror::Error;

use crate::config::AccessConfig;

mod check;
mod cost;
mod error;
mod kinds;
mod lexer;
mod pattern_value;
mod values;

pub use error::{CompileError, EvaluationError};
pub use lexer::MAX_LENGTH;
pub use values::{MAX_CLAIM_BYTES, MAX_CLAIM_DEPTH, MAX_CLAIM_VALUES, RoomFacts, Subject};

/// Operators and functions of expressions, the same for all.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib().with_optional_support(false);
    env.add_extension(pattern_value::extension)
        .expect("the standard library has no such overload");
    Arc::new(env)
});

/// Stack of the thread that compiles: twice what the deepest nesting takes in an unoptimized build. Only what is used of it
/// becomes resident.
const PARSER_STACK: usize = 8 * 1024 * 1024;

/// One compiled expression. Cheap to evaluate, from any number of threads.
pub struct Expression {
    source: String,
    tree: IdedExpr,
    checked: check::Checked,
}

impl Expression {
    /// Compiles an expression.
    pub fn compile(source: &str) -> Result<Self, CompileError> {
        lexer::check(source)?;
        // The parser takes up to 200 KiB of stack for each bracket in an unoptimized build, which is more than a worker
        // thread has for the nesting that the scan above lets through. Compiling is rare; it gets a stack of its own.
        let parser = || Self::parse(source);
        thread::scope(|scope| {
            let thread = thread::Builder::new()
                .name("access-compile".to_owned())
                .stack_size(PARSER_STACK)
                .spawn_scoped(scope, parser);
            match thread.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(result)) => result,
                // Should the parser have a bug, it costs one policy, not the process.
                Ok(Err(_)) => Err(CompileError::new("the expression can't be parsed")),
                Err(_) => Err(CompileError::new(
                    "there is no memory to compile the expression",
                )),
            }
        })
    }

    fn parse(source: &str) -> Result<Self, CompileError> {
        let parsed = ENVIRONMENT.parser().parse_with_source_info(source);
        let (mut tree, info) = parsed.map_err(|errors| parse_error(source, &errors))?;
        let checked = check::check(&mut tree, source, &info)?;
        Ok(Self {
            source: source.to_owned(),
            tree,
            checked,
        })
    }

    /// The expression as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the user may. An error means no.
    pub fn evaluate(&self, user: &Subject, room: &RoomFacts) -> Result<bool, EvaluationError> {
        if user.size.too_large {
            return Err(EvaluationError::ClaimsTooLarge);
        }
        if self.checked.cost.estimate(user.size, room.segments) > cost::BUDGET {
            return Err(EvaluationError::TooCostly);
        }
        let variables = Variables {
            user,
            room,
            patterns: &self.checked.patterns,
        };
        catch_unwind(AssertUnwindSafe(|| self.run(&variables)))
            .unwrap_or(Err(EvaluationError::Failed("it can't be evaluated")))
    }

    fn run(&self, variables: &Variables<'_>) -> Result<bool, EvaluationError> {
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(variables);
        let answer = Value::resolve_val(&self.tree, &context)?;
        match answer.downcast_ref::<CelBool>() {
            Some(answer) => Ok(*answer.inner()),
            None => Err(EvaluationError::NotBool(type_name(&answer))),
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.source).finish()
    }
}

fn type_name(value: &CowVal<'_, '_>) -> &'static str {
    match value.get_type().name() {
        "string" => "a text",
        "int" | "uint" | "double" => "a number",
        "list" => "a list",
        "map" => "a map",
        "null_type" | "null" => "null",
        _ => "something else",
    }
}

fn parse_error(source: &str, errors: &cel::ParseErrors) -> CompileError {
    let Some(first) = errors.errors.first() else {
        return CompileError::new("the expression can't be parsed");
    };
    let message = first.msg.lines().next().unwrap_or_default();
    // Its list of what could stand there instead is no help.
    let message = message.split(" expecting {").next().unwrap_or_default();
    let message: String = message.chars().take(200).collect();
    let lines = source.split('\n').count();
    let position = match (usize::try_from(first.pos.0), usize::try_from(first.pos.1)) {
        (Ok(line @ 1..), Ok(column)) if line <= lines => Some((line, column.max(1))),
        _ => None,
    };
    let mut error = CompileError::new(message);
    error.position = position;
    error
}

/// The variables of one evaluation, lent to the interpreter.
struct Variables<'a> {
    user: &'a Subject,
    room: &'a RoomFacts,
    patterns: &'a [pattern_value::PatternValue],
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match variable {
            "user" => Some(CowVal::Borrowed(self.user.value())),
            "room" => Some(CowVal::Borrowed(self.room.value())),
            _ => {
                let pattern = self.patterns.get(pattern_value::index(variable)?)?;
                Some(CowVal::Borrowed(pattern))
            }
        }
    }
}

/// What a user wants to do in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Join it and receive its messages.
    Join,
    /// Publish messages.
    Publish,
    /// Send signals.
    Signal,
    /// Read pages of its history.
    History,
    /// Ask who is there.
    Members,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Join,
        Self::Publish,
        Self::Signal,
        Self::History,
        Self::Members,
    ];

    /// Name of the field of a Room's `access`.
    pub fn field(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Publish => "publish",
            Self::Signal => "signal",
            Self::History => "history",
            Self::Members => "members",
        }
    }
}

/// Why a Room's access doesn't compile.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("spec.access.{}: {source}", .action.field())]
pub struct AccessError {
    /// Whose expression it is.
    pub action: Action,
    /// What is wrong with it.
    #[source]
    pub source: CompileError,
}

/// The compiled access of one Room. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct AccessRules {
    expressions: [Arc<Expression>; 5],
}

impl AccessRules {
    /// Compiles all expressions of a Room; equal ones are shared.
    pub fn compile(access: &AccessConfig) -> Result<Self, AccessError> {
        let join = compile(Action::Join, access, &[])?;
        let publish = compile(Action::Publish, access, &[&join])?;
        let known = [&join, &publish];
        let signal = compile(Action::Signal, access, &known)?;
        let history = compile(Action::History, access, &known)?;
        let members = compile(Action::Members, access, &known)?;
        Ok(Self {
            expressions: [join, publish, signal, history, members],
        })
    }

    /// The expression of an action.
    pub fn expression(&self, action: Action) -> &Expression {
        &self.expressions[action as usize]
    }

    /// Whether the user may. An error means no.
    pub fn evaluate(
        &self,
        action: Action,
        user: &Subject,
        room: &RoomFacts,
    ) -> Result<bool, EvaluationError> {
        self.expression(action).evaluate(user, room)
    }

    /// Whether the user may; where no reason is wanted.
    pub fn allows(&self, action: Action, user: &Subject, room: &RoomFacts) -> bool {
        self.evaluate(action, user, room).unwrap_or(false)
    }
}

fn compile(
    action: Action,
    access: &AccessConfig,
    known: &[&Arc<Expression>],
) -> Result<Arc<Expression>, AccessError> {
    let source = match action {
        Action::Join => &access.join,
        Action::Publish => &access.publish,
        Action::Signal => &access.signal,
        Action::History => &access.history,
        Action::Members => &access.members,
    };
    if let Some(same) = known.iter().find(|known| known.source == *source) {
        return Ok(Arc::clone(same));
    }
    match Expression::compile(source) {
        Ok(expression) => Ok(Arc::new(expression)),
        Err(source) => Err(AccessError { action, source }),
    }
}

#[cfg(test)]
mod tests;
