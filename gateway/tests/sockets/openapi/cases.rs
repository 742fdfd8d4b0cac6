//! Requests, played against a gateway and held against the document.

use std::collections::{BTreeMap, BTreeSet};

use rotunda_gateway::http::Side;
use serde_json::{Value, json};

use super::document::Document;
use crate::gateway::{Answer, TestGateway};

/// One request and the status that it is to get.
pub(super) struct Case {
    pub(super) operation: &'static str,
    pub(super) side: Side,
    /// Path and query.
    pub(super) path: String,
    pub(super) body: String,
    pub(super) headers: String,
    pub(super) status: u16,
}

/// Requests of one gateway, one after the other.
pub(super) struct Cases {
    pub(super) document: Document,
    pub(super) operations: BTreeMap<String, Value>,
    pub(super) seen: BTreeSet<(String, Side, u16)>,
}

impl Cases {
    pub(super) async fn play(&mut self, gateway: &TestGateway, case: Case) -> Answer {
        let (method, _) = case.operation.split_once(' ').unwrap();
        let request = format!("{method} {}", case.path);
        let answer = match case.side {
            Side::Public => gateway.http_with(&case.headers, &request, &case.body).await,
            Side::Server => gateway.api_with(&case.headers, &request, &case.body).await,
        };
        let context = format!("{:?} {request} {}", case.side, case.body);
        assert_eq!(answer.status, case.status, "{context}: {answer:?}");
        let operation = &self.operations[case.operation];
        self.document
            .check_answer(operation, &answer)
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        if answer.status < 300 {
            self.check_request(operation, &case)
                .unwrap_or_else(|error| panic!("{context}: {error}"));
        }
        let seen = (case.operation.to_owned(), case.side, case.status);
        self.seen.insert(seen);
        answer
    }

    /// What succeeds is described, too.
    fn check_request(&self, operation: &Value, case: &Case) -> Result<(), String> {
        let (_, query) = case.path.split_once('?').unwrap_or((&case.path, ""));
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap();
            let parameter = self
                .document
                .parameter(operation, "query", name)
                .ok_or_else(|| format!("the parameter {name} isn't described"))?;
            let number = parameter["schema"]["type"] == "integer";
            let value = if number {
                serde_json::from_str(value).unwrap()
            } else if parameter["schema"]["type"] == "array" {
                json!([value])
            } else {
                json!(value)
            };
            self.document.check(&parameter["schema"], &value)?;
        }
        if case.body.is_empty() {
            return Ok(());
        }
        let body = self.document.resolve(&operation["requestBody"]);
        let schema = &body["content"]["application/json"]["schema"];
        let value = serde_json::from_str(&case.body).unwrap();
        self.document.check(schema, &value)
    }
}

pub(super) struct Caller<'a> {
    pub(super) side: Side,
    pub(super) headers: &'a str,
}

impl Caller<'_> {
    /// The operation on that room or user.
    pub(super) fn asks(&self, operation: &'static str, of: &str, body: &str, status: u16) -> Case {
        let template = operation.split_once(' ').unwrap().1;
        let path = template.replace("{room}", of).replace(
            "{user}",
            if template.contains("{room}") {
                "eve"
            } else {
                of
            },
        );
        self.asks_at(operation, path, body, status)
    }

    pub(super) fn asks_at(
        &self,
        operation: &'static str,
        path: String,
        body: &str,
        status: u16,
    ) -> Case {
        Case {
            operation,
            side: self.side,
            path,
            body: body.to_owned(),
            headers: self.headers.to_owned(),
            status,
        }
    }
}
