//! A real local Kubernetes, and what end-to-end tests in it are written with.
//!
//! [`local`] makes the cluster; the `rotunda-local` binary is its command line.

pub mod local;
