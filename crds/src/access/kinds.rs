//! The kind of an expression's value, as far as it can be told without claims.

use cel::{
    IdedExpr,
    common::ast::{Expr, LiteralValue, operators},
};

/// Kind of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Number,
    Text,
    Null,
    List,
    Map,
}

impl Kind {
    /// For messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Null => "null",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }

    /// Whether it holds no other values.
    pub(super) fn is_scalar(self) -> bool {
        !matches!(self, Self::List | Self::Map)
    }
}

/// The kind of an expression's value; `None` where it depends. `scope` holds the variables of the loops around.
pub(super) fn kind_of(expression: &IdedExpr, scope: &[String]) -> Option<Kind> {
    match &expression.expr {
        Expr::Literal(literal) => Some(match literal {
            LiteralValue::Boolean(_) => Kind::Bool,
            LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_) => Kind::Number,
            LiteralValue::String(_) => Kind::Text,
            LiteralValue::Null => Kind::Null,
            LiteralValue::Bytes(_) => return None,
        }),
        Expr::List(_) => Some(Kind::List),
        Expr::Map(_) => Some(Kind::Map),
        Expr::Ident(name) => {
            (matches!(name.as_str(), "user" | "room") && !scope.contains(name)).then_some(Kind::Map)
        }
        Expr::Select(select) if select.test => Some(Kind::Bool),
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(root) if !scope.contains(root) => field_kind(root, &select.field),
            _ => None,
        },
        Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
            (
                operators::LOGICAL_AND
                | operators::LOGICAL_OR
                | operators::LOGICAL_NOT
                | operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS
                | operators::IN
                | "contains"
                | "startsWith"
                | "endsWith"
                | "matches"
                | "bool",
                _,
            ) => Some(Kind::Bool),
            ("size" | "int" | "uint" | "double" | operators::NEGATE, _) => Some(Kind::Number),
            ("string", _) => Some(Kind::Text),
            (operators::ADD, [left, right]) => {
                kind_of(left, scope).or_else(|| kind_of(right, scope))
            }
            (operators::CONDITIONAL, [_, left, right]) => {
                kind_of(left, scope).filter(|kind| kind_of(right, scope) == Some(*kind))
            }
            (operators::INDEX, [operand, _]) => match &operand.expr {
                Expr::Select(select) if field_of(&select.operand, "room", scope) => {
                    (select.field == "segments").then_some(Kind::Text)
                }
                _ => None,
            },
            _ => None,
        },
        Expr::Comprehension(_) | Expr::Struct(_) | Expr::Unspecified => None,
    }
}

fn field_of(operand: &IdedExpr, root: &str, scope: &[String]) -> bool {
    matches!(&operand.expr, Expr::Ident(name) if name == root && !scope.contains(name))
}

/// Kind of a field of `user` or `room`.
pub(super) fn field_kind(root: &str, field: &str) -> Option<Kind> {
    match (root, field) {
        ("user", "id") | ("room", "name") => Some(Kind::Text),
        ("user", "anonymous") => Some(Kind::Bool),
        ("user", "claims") => Some(Kind::Map),
        ("room", "segments") => Some(Kind::List),
        _ => None,
    }
}
