//! Rotunda: the `crds` crate.
