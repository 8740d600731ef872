{{/* The name of the release's objects: short enough for a label. */}}
{{- define "millstream.fullname" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "millstream.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "millstream.fullname" .) -}}
{{- end -}}

{{/* What finds the operator's pods. It never changes: a Deployment's selector cannot. */}}
{{- define "millstream.selector" -}}
app.kubernetes.io/name: millstream-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "millstream.labels" -}}
{{ include "millstream.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* image (dict "of" .Values.image "tag" .Chart.AppVersion): its reference. */}}
{{- define "millstream.image" -}}
{{- if .of.digest -}}
{{ .of.repository }}@{{ .of.digest }}
{{- else -}}
{{ .of.repository }}:{{ .of.tag | default .tag }}
{{- end -}}
{{- end -}}

{{/* What the operator may do where jobs are. No Secrets and no ConfigMaps: credentials of buckets and
     brokers are the pods' alone. */}}
{{- define "millstream.rules" -}}
- apiGroups: [millstream.dev]
  resources: [streamjobs, streamsnapshots]
  verbs: [get, list, watch, patch]
- apiGroups: [millstream.dev]
  resources: [streamjobs/status, streamsnapshots/status]
  verbs: [get, patch]
- apiGroups: [millstream.dev]
  resources: [streamjobs/finalizers, streamsnapshots/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
# What admission says of pods that it refuses is in events alone.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [list, watch, create, patch]
{{- end -}}
