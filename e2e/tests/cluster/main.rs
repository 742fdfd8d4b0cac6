//! End-to-end tests in a real cluster, one module a subject. `make test` and `scripts/e2e` bring the
//! cluster up and install the operator first.

mod example;
mod machinery;
mod messages;
mod policy;
