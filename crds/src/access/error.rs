//! What can be wrong with an access expression, and what can go wrong when it runs.

use std::fmt;

use cel::ExecutionError;
use thiserror::Error;

/// Why an expression doesn't compile, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileError {
    /// Line and column, both from 1, where the mistake has a place.
    pub position: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that is known.
    pub hint: Option<String>,
}

impl CompileError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            position: None,
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn at(mut self, source: &str, offset: usize) -> Self {
        self.position = Some(position(source, offset));
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.position {
            write!(f, "line {line}, column {column}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, ": {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CompileError {}

/// Line and column of a byte offset, both from 1; columns count characters.
fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = &source[..source.floor_char_boundary(offset)];
    before.chars().fold((1, 1), |(line, column), c| {
        if c == '\n' {
            (line + 1, 1)
        } else {
            (line, column + 1)
        }
    })
}

/// Why an expression came to no answer; the access is denied. Holds no value of a claim.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EvaluationError {
    /// A claim, field or element that isn't there.
    #[error("no such key `{0}`")]
    MissingKey(String),
    /// Types that don't fit an operator or function.
    #[error("{0}")]
    WrongType(String),
    /// An answer that is neither true nor false.
    #[error("the expression yields {0}, not true or false")]
    NotBool(&'static str),
    /// More work than an access check may be.
    #[error("the expression would take too long with these claims")]
    TooCostly,
    /// Claims past what is looked at.
    #[error("the token's claims are too large or too deeply nested")]
    ClaimsTooLarge,
    /// Something else that went wrong while it ran.
    #[error("the expression failed: {0}")]
    Failed(&'static str),
}

impl From<ExecutionError> for EvaluationError {
    fn from(error: ExecutionError) -> Self {
        // Not the crate's own text: it quotes values, and claims don't belong into logs.
        match error {
            ExecutionError::NoSuchKey(key) => Self::MissingKey(key.chars().take(100).collect()),
            ExecutionError::NoSuchOverload(overload) => Self::WrongType(overload.to_string()),
            ExecutionError::UnexpectedType { got, want } => {
                Self::WrongType(format!("unexpected type {got}, wanted {want}"))
            }
            ExecutionError::UnsupportedBinaryOperator(operator, ..) => {
                Self::WrongType(format!("types that `{operator}` doesn't take"))
            }
            ExecutionError::IndexOutOfBounds(_) => Self::Failed("index out of bounds"),
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                Self::Failed("division by zero")
            }
            ExecutionError::Overflow(..) => Self::Failed("integer overflow"),
            ExecutionError::ValuesNotComparable(..) => Self::Failed("values can't be compared"),
            ExecutionError::UnsupportedIndex(..) | ExecutionError::UnsupportedKeyType(_) => {
                Self::Failed("a value that can't be an index")
            }
            ExecutionError::FunctionError { .. } => Self::Failed("a conversion failed"),
            _ => Self::Failed("it can't be evaluated"),
        }
    }
}
