//! Rules of a Room.

use super::Rule;

/// All of them. What can't change stands on the spec and compares `has()`: a rule on a field isn't asked when the field is
/// added or removed.
/// (`namespace` is a reserved word of CEL, which Kubernetes escapes.)
pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "spec",
        "has(self.name) != has(self.pattern)",
        "write exactly one of name (one room) and pattern (every room whose name matches)",
    ),
    Rule::new(
        "spec",
        "(has(self.name) ? self.name : '') == (has(oldSelf.name) ? oldSelf.name : '') && \
         (has(self.pattern) ? self.pattern : '') == (has(oldSelf.pattern) ? oldSelf.pattern : '')",
        "name and pattern can't change: set them back, or delete this Room and make another one",
    ),
    Rule::new(
        "spec",
        "self.clusterRef.name == oldSelf.clusterRef.name && \
         (has(self.clusterRef.__namespace__) ? self.clusterRef.__namespace__ : '') == (has(oldSelf.clusterRef.__namespace__) ? oldSelf.clusterRef.__namespace__ : '')",
        "clusterRef can't change: set it back, or delete this Room and make another one",
    )
    .blaming("clusterRef"),
    Rule::new(
        "spec.clusterRef.name",
        "self.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "this is no name of a RealtimeCluster: write lower-case letters, digits and -, starting with a letter",
    ),
    Rule::new(
        "spec.clusterRef.namespace",
        "self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
        "this is no name of a namespace: write lower-case letters, digits and -, or leave it out for the Room's own namespace",
    ),
    Rule::new(
        "spec.name",
        "self.matches('^[A-Za-z0-9_.:@%-]+$')",
        "a room's name consists of A-Z a-z 0-9 _ . : @ % and -; for many rooms write pattern",
    ),
    Rule::new(
        "spec.pattern",
        "self.contains('*')",
        "a pattern has at least one *: write it as name, or add * (within a segment) or ** (across segments)",
    ),
    Rule::new(
        "spec.pattern",
        "self.matches('^[A-Za-z0-9_.:@%-]*([*]{1,2}[A-Za-z0-9_.:@%-]+){0,7}([*]{1,2})?$')",
        "a pattern consists of A-Z a-z 0-9 _ . : @ % - with at most eight * or **: write team:* or team:**, say",
    ),
    Rule::new(
        "spec.history.maxAge",
        "self == '' || self.matches('^([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,7}m)?([0-9]{1,9}s)?$') && self.matches('[1-9]')",
        "this is no duration: write whole numbers with d, h, m or s, the longest first, such as 24h, 7d or 1h30m",
    ),
];
