//! Rotunda: the `gateway` crate.
