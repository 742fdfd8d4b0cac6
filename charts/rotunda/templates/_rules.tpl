{{/*
What the operator may do in the namespaces it works on: one list, for a ClusterRole as well as for a Role in each
watched namespace. `create` and `patch` belong together: server-side apply creates what isn't there.
*/}}
{{- define "rotunda.rules" -}}
# Its own kinds. It never writes a spec: only status, and a Room's finalizer while stored messages have to go with it.
- apiGroups: [rotunda.dev]
  resources: [realtimeclusters]
  verbs: [get, list, watch]
- apiGroups: [rotunda.dev]
  resources: [rooms]
  verbs: [get, list, watch, patch]
- apiGroups: [rotunda.dev]
  resources: [realtimeclusters/status, rooms/status]
  verbs: [patch]
# Owner references that block deletion take this where the admission plugin for them is on.
- apiGroups: [rotunda.dev]
  resources: [realtimeclusters/finalizers]
  verbs: [update]
# What it makes, repairs and prunes for a RealtimeCluster.
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
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
# Where their definitions are installed, and a RealtimeCluster asks for them.
- apiGroups: [monitoring.coreos.com]
  resources: [servicemonitors, prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
# What it never deletes: Secrets, those of others that a resource names among them, and Redis.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch]
# Pods tell what is ready. An annotation makes the kubelet refresh the gateway's files at once; it is set through the
# status, so that a pod's spec stays out of reach.
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
