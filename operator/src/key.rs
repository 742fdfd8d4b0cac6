//! The name of a namespaced object, as the operator's own maps and queues use it.

use std::fmt;

use kube::{
    Resource,
    runtime::reflector::{Lookup, ObjectRef},
};

/// Namespace and name. The kind is known from where the key is used.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

impl Key {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object; the namespace of a cluster-scoped one is empty.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(
            meta.namespace.clone().unwrap_or_default(),
            meta.name.clone().unwrap_or_default(),
        )
    }

    /// The same name as kube's runtime wants it.
    pub fn to_ref<K>(&self) -> ObjectRef<K>
    where
        K: Lookup,
        K::DynamicType: Default,
    {
        ObjectRef::new(&self.name).within(&self.namespace)
    }
}

impl<K: Lookup> From<&ObjectRef<K>> for Key {
    fn from(object: &ObjectRef<K>) -> Self {
        Self::new(
            object.namespace.clone().unwrap_or_default(),
            object.name.clone(),
        )
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
