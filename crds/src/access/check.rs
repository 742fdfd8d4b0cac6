//! Looks at a parsed expression: unknown names and functions, types that can't fit, and how much work it can be.
//!
//! Patterns of `matches` are compiled here, once, and replaced by a variable that holds the compiled one.

use cel::{
    IdedExpr,
    common::ast::{
        CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, SourceInfo,
        operators,
    },
};

use super::{
    cost::Cost,
    error::CompileError,
    kinds::{Kind, kind_of},
    pattern_value::{self, PatternValue},
};
use crate::nearest::nearest;

/// Deepest tree of an expression. Evaluation recurses into it and takes up to 45 KiB of stack for each level in an
/// unoptimized build, so this is half of what a Tokio worker has.
const MAX_DEPTH: usize = 20;
/// Most nodes of the tree, macros expanded.
const MAX_NODES: usize = 1000;
/// Deepest nesting of `exists`, `all`, `exists_one` and `filter`.
const MAX_LOOPS: usize = 3;

const GLOBALS: [&str; 8] = [
    "size", "string", "int", "uint", "double", "bool", "dyn", "type",
];
const MEMBERS: [&str; 5] = ["size", "contains", "startsWith", "endsWith", "matches"];
const MACROS: [&str; 5] = ["has", "all", "exists", "exists_one", "filter"];
const TYPES: [&str; 9] = [
    "bool",
    "int",
    "uint",
    "double",
    "string",
    "list",
    "map",
    "null_type",
    "type",
];

/// What was found out about an expression.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// How much work it can be.
    pub(super) cost: Cost,
    /// The compiled patterns of `matches`, in the order of their variables.
    pub(super) patterns: Vec<PatternValue>,
}

/// Checks an expression and replaces the patterns in it.
pub(super) fn check(
    expression: &mut IdedExpr,
    source: &str,
    info: &SourceInfo,
) -> Result<Checked, CompileError> {
    let mut walk = Walk {
        source,
        info,
        scope: Vec::new(),
        loops: 0,
        nodes: 0,
        found: Checked::default(),
    };
    walk.visit(expression, 0)?;
    walk.want_bool(expression, "an access expression")?;
    Ok(walk.found)
}

struct Walk<'a> {
    source: &'a str,
    info: &'a SourceInfo,
    /// Variables of the loops around.
    scope: Vec<String>,
    loops: usize,
    nodes: usize,
    found: Checked,
}

impl Walk<'_> {
    fn error(&self, expression: &IdedExpr, message: impl Into<String>) -> CompileError {
        let error = CompileError::new(message);
        match self.info.offset_for(expression.id) {
            Some((start, _)) => error.at(self.source, start as usize),
            None => error,
        }
    }

    fn visit(&mut self, expression: &mut IdedExpr, depth: usize) -> Result<(), CompileError> {
        self.nodes += 1;
        if depth > MAX_DEPTH || self.nodes > MAX_NODES {
            return Err(self
                .error(expression, "the expression is too complex")
                .hint("write it with fewer operators, or move the decision into a claim"));
        }
        self.found.cost.node(self.loops);
        match &expression.expr {
            Expr::Ident(name) => self.variable(expression, name)?,
            Expr::Select(select) => self.select(expression, select)?,
            Expr::Call(call) => self.call(expression, call)?,
            Expr::Struct(_) => {
                return Err(self.error(expression, "messages aren't supported"));
            }
            Expr::Unspecified => return Err(self.error(expression, "something is missing here")),
            Expr::Literal(LiteralValue::Bytes(_)) => {
                return Err(self.error(expression, "bytes aren't supported"));
            }
            Expr::List(list) => {
                self.found.cost.literal_list(list.elements.len());
                self.found.cost.deep(self.loops);
            }
            Expr::Map(map) => {
                self.found.cost.literal_list(map.entries.len());
                self.found.cost.deep(self.loops);
            }
            Expr::Comprehension(_) | Expr::Literal(_) => {}
        }
        self.visit_children(expression, depth + 1)?;
        self.check_types(expression)
    }

    fn visit_children(
        &mut self,
        expression: &mut IdedExpr,
        depth: usize,
    ) -> Result<(), CompileError> {
        match &mut expression.expr {
            Expr::Call(call) => {
                if let Some(target) = &mut call.target {
                    self.visit(target, depth)?;
                }
                let pattern = pattern_argument(call);
                for (index, argument) in call.args.iter_mut().enumerate() {
                    if Some(index) == pattern {
                        self.take_pattern(argument)?;
                    } else {
                        self.visit(argument, depth)?;
                    }
                }
                Ok(())
            }
            Expr::Select(select) => self.visit(&mut select.operand, depth),
            Expr::List(list) => list
                .elements
                .iter_mut()
                .try_for_each(|e| self.visit(e, depth)),
            Expr::Map(map) => map
                .entries
                .iter_mut()
                .try_for_each(|entry| match &mut entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        self.visit(&mut entry.key, depth)?;
                        self.visit(&mut entry.value, depth)
                    }
                    EntryExpr::StructField(field) => self.visit(&mut field.value, depth),
                }),
            Expr::Comprehension(comprehension) => self.visit_loop(comprehension, depth),
            Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => Ok(()),
        }
    }

    fn visit_loop(
        &mut self,
        comprehension: &mut ComprehensionExpr,
        depth: usize,
    ) -> Result<(), CompileError> {
        self.visit(&mut comprehension.iter_range, depth)?;
        if self.loops == MAX_LOOPS {
            return Err(self.error(
                &comprehension.iter_range,
                format!("`exists`, `all` and `filter` are nested more than {MAX_LOOPS} deep"),
            ));
        }
        self.loops += 1;
        let outer = self.scope.len();
        self.scope.push(comprehension.accu_var.clone());
        self.scope.push(comprehension.iter_var.clone());
        self.scope.extend(comprehension.iter_var2.clone());
        for part in [
            &mut comprehension.accu_init,
            &mut comprehension.loop_cond,
            &mut comprehension.loop_step,
            &mut comprehension.result,
        ] {
            self.visit(part, depth)?;
        }
        self.scope.truncate(outer);
        self.loops -= 1;
        Ok(())
    }

    fn in_scope(&self, name: &str) -> bool {
        self.scope.iter().any(|variable| variable == name)
    }

    fn variable(&self, expression: &IdedExpr, name: &str) -> Result<(), CompileError> {
        let known = matches!(name, "user" | "room") || TYPES.contains(&name);
        if known || self.in_scope(name) {
            return Ok(());
        }
        let error = self.error(expression, format!("unknown name `{name}`"));
        let own = ["user", "room"].into_iter();
        let candidates = own.chain(
            self.scope
                .iter()
                .map(String::as_str)
                .filter(|s| !s.starts_with('@')),
        );
        Err(match nearest(name, candidates) {
            Some(candidate) => error.hint(format!("did you mean `{candidate}`?")),
            None => error.hint("there are `user` and `room`; text goes in quotes"),
        })
    }

    /// A field of `user` or `room`, which are known.
    fn select(&self, expression: &IdedExpr, select: &SelectExpr) -> Result<(), CompileError> {
        match &select.operand.expr {
            Expr::Ident(root) if !self.in_scope(root) => {
                self.field(expression, root, &select.field)
            }
            Expr::Select(_) => match kind_of(&select.operand, &self.scope) {
                Some(kind) if kind != Kind::Map => Err(self.error(
                    expression,
                    format!("`{}` can't be looked up in {}", select.field, kind.name()),
                )),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn field(&self, expression: &IdedExpr, root: &str, field: &str) -> Result<(), CompileError> {
        let fields: &[&str] = match root {
            "user" => &["id", "claims", "anonymous"],
            "room" => &["name", "segments"],
            _ => return Ok(()),
        };
        if fields.contains(&field) {
            return Ok(());
        }
        let error = self.error(expression, format!("`{root}` has no field `{field}`"));
        Err(match nearest(field, fields.iter().copied()) {
            Some(candidate) => error.hint(format!("did you mean `{root}.{candidate}`?")),
            None if root == "user" => error.hint(format!(
                "what the token says is under `user.claims`: `user.claims.{field}`"
            )),
            None => error.hint("there are `room.name` and `room.segments`"),
        })
    }

    fn call(&mut self, expression: &IdedExpr, call: &CallExpr) -> Result<(), CompileError> {
        let name = call.func_name.as_str();
        match name {
            operators::INDEX => {
                if let [operand, index] = call.args.as_slice()
                    && let (Expr::Ident(root), Expr::Literal(LiteralValue::String(field))) =
                        (&operand.expr, &index.expr)
                    && !self.in_scope(root)
                {
                    self.field(expression, root, field.inner())?;
                }
                return Ok(());
            }
            operators::IN | operators::EQUALS | operators::NOT_EQUALS | operators::ADD => {
                let shallow = call
                    .args
                    .iter()
                    .any(|argument| kind_of(argument, &self.scope).is_some_and(Kind::is_scalar));
                if name == operators::IN || !shallow {
                    self.found.cost.deep(self.loops);
                }
                return Ok(());
            }
            _ if !name.starts_with(|c: char| c.is_ascii_alphabetic()) => return Ok(()),
            _ => {}
        }
        self.found.cost.text(self.loops);
        let known: &[&str] = if call.target.is_some() {
            &MEMBERS
        } else {
            &GLOBALS
        };
        let matches_call = name == "matches";
        if known.contains(&name) || matches_call {
            if matches_call && pattern_argument(call).is_none() {
                return Err(self
                    .error(
                        expression,
                        "`matches` takes one pattern, as a text in quotes",
                    )
                    .hint("write room.name.matches('^team-[0-9]+$'), say"));
            }
            return Ok(());
        }
        Err(self.unknown_function(expression, call))
    }

    fn unknown_function(&self, expression: &IdedExpr, call: &CallExpr) -> CompileError {
        let name = call.func_name.as_str();
        if MACROS.contains(&name) {
            let usage = if name == "has" {
                "write has(user.claims.team)".to_owned()
            } else {
                format!("write user.claims.teams.{name}(t, t == room.segments[1])")
            };
            return self
                .error(
                    expression,
                    format!("`{name}` is called with the wrong arguments"),
                )
                .hint(usage);
        }
        let error = self.error(expression, format!("unknown function `{name}`"));
        let candidates = MEMBERS.iter().chain(&GLOBALS).chain(&MACROS).copied();
        match nearest(name, candidates) {
            Some(candidate) => error.hint(format!("did you mean `{candidate}`?")),
            None => error.hint("there are size, contains, startsWith, endsWith, matches, has, exists, all, filter and the conversions"),
        }
    }

    /// Compiles a literal pattern and puts its variable in its place.
    fn take_pattern(&mut self, argument: &mut IdedExpr) -> Result<(), CompileError> {
        let Expr::Literal(LiteralValue::String(pattern)) = &argument.expr else {
            return Ok(());
        };
        let compiled = PatternValue::compile(pattern.inner())
            .map_err(|message| self.error(argument, message))?;
        argument.expr = Expr::Ident(pattern_value::variable(self.found.patterns.len()));
        self.found.patterns.push(compiled);
        Ok(())
    }

    /// Refuses what can only fail, or only be false, whatever the claims.
    fn check_types(&self, expression: &IdedExpr) -> Result<(), CompileError> {
        let Expr::Call(call) = &expression.expr else {
            return Ok(());
        };
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, operands) => operands
                .iter()
                .try_for_each(|operand| self.want_bool(operand, "a side of `&&` or `||`")),
            (operators::LOGICAL_NOT, [operand]) => self.want_bool(operand, "what `!` turns around"),
            (operators::CONDITIONAL, [condition, ..]) => self.want_bool(condition, "a condition"),
            (operators::IN, [_, container]) => match kind_of(container, &self.scope) {
                Some(Kind::Text) => Err(self
                    .error(expression, "`in` looks into lists and maps, not into text")
                    .hint("use contains: room.name.contains('x')")),
                Some(kind) if kind.is_scalar() => Err(self.error(
                    expression,
                    format!("`in` looks into lists and maps, not into {}", kind.name()),
                )),
                _ => Ok(()),
            },
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                match (kind_of(left, &self.scope), kind_of(right, &self.scope)) {
                    (Some(left), Some(right))
                        if left != right && left != Kind::Null && right != Kind::Null =>
                    {
                        Err(self.error(
                            expression,
                            format!("{} is never equal to {}", left.name(), right.name()),
                        ))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn want_bool(&self, expression: &IdedExpr, place: &str) -> Result<(), CompileError> {
        match kind_of(expression, &self.scope) {
            None | Some(Kind::Bool) => Ok(()),
            Some(kind) => Err(self
                .error(
                    expression,
                    format!("{place} has to be true or false, this is {}", kind.name()),
                )
                .hint("compare it with something")),
        }
    }
}

/// Index of the pattern among the arguments of a `matches` call that has a literal one.
fn pattern_argument(call: &CallExpr) -> Option<usize> {
    let last = usize::from(call.target.is_none());
    let fits = call.func_name == "matches" && call.args.len() == last + 1;
    let literal =
        |argument: &IdedExpr| matches!(argument.expr, Expr::Literal(LiteralValue::String(_)));
    (fits && call.args.last().is_some_and(literal)).then_some(last)
}
