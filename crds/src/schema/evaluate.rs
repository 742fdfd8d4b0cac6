//! Evaluates one rule of ours about one value, as the API server does.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use cel::{Context, Program, Value as CelValue};
use serde_json::Value;

use super::functions::ENVIRONMENT;

/// Evaluates a rule of ours.
pub(super) fn evaluate(rule: &str, value: &Value, old: Option<&Value>) -> Result<bool, String> {
    static PROGRAMS: LazyLock<Mutex<HashMap<String, Arc<Program>>>> = LazyLock::new(Mutex::default);
    let mut programs = PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner);
    let program = if let Some(program) = programs.get(rule) {
        program.clone()
    } else {
        let program = ENVIRONMENT
            .compile(rule)
            .map_err(|errors| errors.to_string())?;
        programs
            .entry(rule.to_owned())
            .or_insert_with(|| program.into())
            .clone()
    };
    drop(programs);
    let mut context = Context::with_env(ENVIRONMENT.clone());
    context.add_variable_from_value("self", to_cel(value));
    if let Some(old) = old {
        context.add_variable_from_value("oldSelf", to_cel(old));
    }
    match program.execute(&context) {
        Ok(CelValue::Bool(holds)) => Ok(holds),
        Ok(other) => Err(format!("yields {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}

fn to_cel(json: &Value) -> CelValue {
    match json {
        Value::Null => CelValue::Null,
        Value::Bool(b) => CelValue::Bool(*b),
        Value::Number(n) => n.as_i64().map_or_else(
            || CelValue::Float(n.as_f64().unwrap_or(f64::NAN)),
            CelValue::Int,
        ),
        Value::String(text) => CelValue::from(text.as_str()),
        Value::Array(items) => CelValue::List(items.iter().map(to_cel).collect::<Vec<_>>().into()),
        Value::Object(entries) => {
            let present = entries.iter().filter(|(_, value)| !value.is_null());
            CelValue::Map(
                present
                    .map(|(name, value)| (escaped(name), to_cel(value)))
                    .collect::<HashMap<_, _>>()
                    .into(),
            )
        }
    }
}

/// A field's name as rules write it: Kubernetes puts underscores around CEL's reserved words. None of ours has a dot or dash.
fn escaped(name: &str) -> String {
    match name {
        "as" | "break" | "const" | "continue" | "else" | "false" | "for" | "function" | "if"
        | "import" | "in" | "let" | "loop" | "namespace" | "null" | "package" | "return"
        | "true" | "var" | "void" | "while" => format!("__{name}__"),
        _ => name.to_owned(),
    }
}
