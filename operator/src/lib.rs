//! Rotunda: the `operator` crate.
