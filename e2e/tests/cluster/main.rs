//! End-to-end tests in a real cluster, one module a subject. `make test` and `scripts/e2e` bring the
//! cluster up and install the operator first.

mod autoscaling;
mod drift;
mod example;
mod machinery;
mod messages;
mod policy;
mod redis;
mod refusals;
mod rollout;
mod scaling;
