{{/* The name of everything in the release's namespace. A controller class sets a second installation apart. */}}
{{- define "rotunda.name" -}}
rotunda-operator{{ with .Values.controllerClass }}-{{ . }}{{ end }}
{{- end }}

{{/* The name of what is cluster-wide: unique to the namespace too. */}}
{{- define "rotunda.clusterName" -}}
{{ .Release.Namespace }}:{{ include "rotunda.name" . }}
{{- end }}

{{- define "rotunda.selector" -}}
app.kubernetes.io/name: rotunda-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rotunda.labels" -}}
{{ include "rotunda.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* An image reference of {repository, tag}, whose empty tag means the chart's appVersion. A tag may be a digest. */}}
{{- define "rotunda.image" -}}
{{- $tag := .image.tag | default .context.Chart.AppVersion -}}
{{ .image.repository }}{{ if hasPrefix "sha256:" $tag }}@{{ else }}:{{ end }}{{ $tag }}
{{- end }}

{{/* Whom the roles are for. */}}
{{- define "rotunda.subjects" -}}
- kind: ServiceAccount
  name: {{ include "rotunda.name" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
