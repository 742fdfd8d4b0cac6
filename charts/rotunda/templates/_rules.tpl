{{/*
What the operator may do in the namespaces it works on. One list, for a ClusterRole as well as for a Role in each
watched namespace; every rule says what it is for.
*/}}
{{- define "rotunda.rules" -}}
# Its own kinds. It never writes a spec: only status, and the finalizer with which it clears up outside Kubernetes.
- apiGroups: [rotunda.dev]
  resources: [realtimeclusters, rooms]
  verbs: [get, list, watch, patch]
- apiGroups: [rotunda.dev]
  resources: [realtimeclusters/status, rooms/status]
  verbs: [patch]
# Owner references that block deletion need this where the admission plugin for them is on.
- apiGroups: [rotunda.dev]
  resources: [realtimeclusters/finalizers, rooms/finalizers]
  verbs: [update]
# What it makes, repairs and prunes for a RealtimeCluster; Secrets are also read where a resource names one.
- apiGroups: [""]
  resources: [configmaps, secrets, serviceaccounts, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments, statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Pods tell what is ready. An annotation, set through the status so that a pod's spec stays out of reach, makes the
# kubelet refresh the gateway's files at once.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods/status]
  verbs: [patch]
# What it says about its work.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
