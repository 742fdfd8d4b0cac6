//! Rules of a RealtimeCluster.

use super::Rule;

/// What can't change. These stand on the spec and compare `has()`: a rule on a field isn't asked when the field is added or
/// removed.
pub(super) const CHANGES: &[Rule] = &[
    Rule::new(
        "spec",
        "(has(self.redis) && has(self.redis.keyPrefix) ? self.redis.keyPrefix : '') == \
         (has(oldSelf.redis) && has(oldSelf.redis.keyPrefix) ? oldSelf.redis.keyPrefix : '')",
        "redis.keyPrefix can't change, because everything stored is under it: set it back, or make another RealtimeCluster",
    )
    .blaming("redis"),
    Rule::new(
        "spec",
        "(has(self.redis) && has(self.redis.external)) == (has(oldSelf.redis) && has(oldSelf.redis.external))",
        "a RealtimeCluster can't move between a managed and an external Redis: set it back, or make another RealtimeCluster and let clients move over",
    )
    .blaming("redis"),
    Rule::new(
        "spec",
        "(has(self.redis) && has(self.redis.managed) && has(self.redis.managed.storage)) == \
         (has(oldSelf.redis) && has(oldSelf.redis.managed) && has(oldSelf.redis.managed.storage))",
        "redis.managed.storage can't be added or removed: set it back, or make another RealtimeCluster",
    )
    .blaming("redis"),
    Rule::new(
        "spec.redis.managed.storage",
        "quantity(has(self.size) ? self.size : '1Gi').compareTo(quantity(has(oldSelf.size) ? oldSelf.size : '1Gi')) >= 0",
        "a volume can't shrink: write the size that it has or a larger one",
    ),
    Rule::new(
        "spec.redis.managed.storage",
        "(has(self.storageClassName) ? self.storageClassName : '') == (has(oldSelf.storageClassName) ? oldSelf.storageClassName : '')",
        "storageClassName can't change once there are volumes: set it back, or make another RealtimeCluster",
    ),
    Rule::new(
        "spec",
        "has(self.service) && has(self.service.type) && self.service.type != 'LoadBalancer' || \
         has(oldSelf.service) && has(oldSelf.service.type) && oldSelf.service.type != 'LoadBalancer' || \
         (has(self.service) && has(self.service.loadBalancerClass) ? self.service.loadBalancerClass : '') == \
         (has(oldSelf.service) && has(oldSelf.service.loadBalancerClass) ? oldSelf.service.loadBalancerClass : '')",
        "service.loadBalancerClass can't change while service.type is LoadBalancer: set it back, or set the type to ClusterIP first",
    ),
];

/// What has to fit together.
pub(super) const SHAPE: &[Rule] = &[
    Rule::new(
        "",
        "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "the name of a RealtimeCluster starts those of its Services and pods: write at most 40 of a-z, 0-9 and -, starting with a letter and not ending with -",
    ),
    Rule::new(
        "spec.redis",
        "!(has(self.managed) && has(self.external))",
        "write either managed or external, not both",
    ),
    Rule::new(
        "spec.autoscaling",
        "(has(self.minReplicas) ? self.minReplicas : 3) <= (has(self.maxReplicas) ? self.maxReplicas : 50)",
        "minReplicas (3 where it isn't written) can't be more than maxReplicas (50 where it isn't written): lower minReplicas or raise maxReplicas",
    ),
    Rule::new(
        "spec.gateway",
        "!has(self.maxConnectionAgeSeconds) || self.maxConnectionAgeSeconds == 0 || self.maxConnectionAgeSeconds >= 60",
        "maxConnectionAgeSeconds is 0 (never) or at least 60: write 3600 to move each connection about once an hour",
    ),
    Rule::new(
        "spec.service",
        "!has(self.loadBalancerClass) || self.loadBalancerClass == '' || !has(self.type) || self.type == 'LoadBalancer'",
        "loadBalancerClass needs type: LoadBalancer; remove it or change the type",
    ),
    Rule::new(
        "spec.auth",
        "has(self.jwt) || has(self.apiKeysSecretRef) || has(self.anonymous) && self.anonymous",
        "nobody could connect: write jwt with the keys of your tokens, or anonymous: true",
    ),
    Rule::new(
        "spec.auth.jwt",
        "has(self.keys) && size(self.keys) > 0",
        "jwt needs at least one entry in keys, such as { id: main, secretRef: { name: my-jwt, key: secret } }",
    ),
    Rule::new(
        "spec.auth.jwt.keys[]",
        "[has(self.secretRef), has(self.publicKeyRef), has(self.jwksUrl)].filter(is, is).size() == 1",
        "write exactly one of secretRef (HS algorithms), publicKeyRef (a PEM) and jwksUrl",
    ),
    Rule::new(
        "spec.auth.jwt.keys[]",
        "!has(self.algorithms) || self.algorithms.all(a, a.startsWith('HS') == has(self.secretRef))",
        "secretRef goes with HS256, HS384 and HS512, publicKeyRef and jwksUrl with the other algorithms: change algorithms, or leave it out for the default",
    ),
    Rule::new(
        "spec.heartbeat",
        "(has(self.timeoutSeconds) ? self.timeoutSeconds : 10) <= (has(self.intervalSeconds) ? self.intervalSeconds : 25)",
        "timeoutSeconds (10 where it isn't written) can't be more than intervalSeconds (25 where it isn't written): lower timeoutSeconds or raise intervalSeconds",
    ),
    Rule::new(
        "spec.limits",
        "(has(self.sendQueueBytes) ? self.sendQueueBytes : 1048576) >= 2 * (has(self.messageBytes) ? self.messageBytes : 65536)",
        "sendQueueBytes (1048576 where it isn't written) has to hold at least two messages of messageBytes (65536 where it isn't written): raise sendQueueBytes or lower messageBytes",
    ),
    Rule::new(
        "spec.allowedRooms",
        "(has(self.namespaces) && self.namespaces == 'Selector') == has(self.selector)",
        "selector and namespaces: Selector go together: write both, or neither",
    ),
];

const SUBDOMAIN: &str =
    "self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')";
const NAME_OF_SECRET: &str = "this is no name of a Secret: write lower-case letters, digits, - and ., starting and ending with a letter or digit";
const ENTRY: &str = "self.matches('^[-._a-zA-Z0-9]+$')";
const ENTRY_OF_SECRET: &str = "this is no entry of a Secret: write letters, digits, -, _ and .";
const CIDRS: &str = "self.all(range, isCIDR(range))";
const IMAGE: &str = "self.matches('^[^ \\\\t\\\\r\\\\n]*$')";
const NO_IMAGE: &str =
    "an image has no spaces: write registry/name:tag, or leave it out for the default";

const fn secret(path: &'static str) -> Rule {
    Rule::new(path, SUBDOMAIN, NAME_OF_SECRET)
}

const fn entry(path: &'static str) -> Rule {
    Rule::new(path, ENTRY, ENTRY_OF_SECRET)
}

/// What texts look like.
pub(super) const TEXTS: &[Rule] = &[
    secret("spec.redis.external.urlSecretRef.name"),
    entry("spec.redis.external.urlSecretRef.key"),
    secret("spec.auth.jwt.keys[].secretRef.name"),
    entry("spec.auth.jwt.keys[].secretRef.key"),
    secret("spec.auth.jwt.keys[].publicKeyRef.name"),
    entry("spec.auth.jwt.keys[].publicKeyRef.key"),
    secret("spec.auth.apiKeysSecretRef.name"),
    Rule::new(
        "spec.tls.secretName",
        "self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        NAME_OF_SECRET,
    ),
    Rule::new(
        "spec.auth.jwt.keys[].id",
        "self.matches('^[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$')",
        "an id consists of letters, digits, -, _ and ., starting and ending with a letter or digit: write main, or 2024-06",
    ),
    Rule::new(
        "spec.auth.jwt.keys[].jwksUrl",
        "self.matches('^(https://[^ ]+|http://[a-z0-9.-]+[.]svc([.][a-z0-9.-]+)?(:[0-9]+)?(/[^ ]*)?)$')",
        "keys have to come over a connection that can be trusted: write an https:// URL, or http:// with a Service of this Kubernetes cluster (http://name.namespace.svc/…)",
    ),
    Rule::new(
        "spec.redis.keyPrefix",
        "self.matches('^[A-Za-z0-9._:-]*$')",
        "a keyPrefix consists of letters, digits, ., _, : and -: write shop.chat, say",
    ),
    Rule::new(
        "spec.redis.managed.storage.size",
        "self.matches('^[1-9][0-9]{0,11}([.][0-9]{1,3})?(Ki|Mi|Gi|Ti|Pi|k|M|G|T|P)?$')",
        "this is no size of a volume: write a number with a unit, such as 10Gi",
    ),
    Rule::new("spec.gateway.image", IMAGE, NO_IMAGE),
    Rule::new("spec.redis.managed.image", IMAGE, NO_IMAGE),
    Rule::new(
        "spec.service.hostname",
        "self == '' || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')",
        "write a host name alone, such as chat.example.com, without scheme, port or path",
    ),
    Rule::new(
        "spec.service.loadBalancerSourceRanges",
        CIDRS,
        "each entry is an address range such as 203.0.113.0/24 or 2001:db8::/32; a single address is 203.0.113.7/32",
    ),
    Rule::new(
        "spec.trustedProxies",
        CIDRS,
        "each entry is an address range such as 10.0.0.0/8 or fd00::/8; a single address is 10.0.0.7/32",
    ),
    Rule::new(
        "spec.allowedOrigins",
        r"self.all(origin, origin.matches('^([*]|[a-z][a-z0-9+.-]*://([*][.])?([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\\[[0-9a-f:.]+\\])(:[0-9]{1,5})?)$'))",
        "each entry is an origin: scheme and host in lower case, and a port where it isn't the usual one, without a path, such as https://app.example.com; https://*.example.org for all subdomains, or *",
    ),
    Rule::new(
        "spec.monitoring.tracing.endpoint",
        "self == '' || self.matches('^https?://[^ ]+$')",
        "write the collector's URL with its scheme, such as http://otel-collector.monitoring:4317",
    ),
];
