//! End-to-end tests in a real cluster, one module a subject. `make test` and `scripts/e2e` bring the
//! cluster up and install the operator first.

mod autoscaling;
mod bad_input;
mod deletion;
mod drift;
mod example;
mod explanations;
mod history;
mod kubectl;
mod machinery;
mod messages;
mod operator;
mod policy;
mod redis;
mod refusals;
#[cfg(feature = "full")]
mod replicas;
mod rollout;
mod scaling;
mod secrets;
mod shards;
