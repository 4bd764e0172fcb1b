{{/* There is one Meshpass in a cluster: names are fixed, so that policies, rights and the broker's defaults agree on them. */}}

{{/* Labels that selectors use. They never change: a Deployment's selector cannot. Argument: the component. */}}
{{- define "meshpass.selector" -}}
app.kubernetes.io/name: meshpass
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/* Labels of every object. Arguments: root, component. */}}
{{- define "meshpass.labels" -}}
{{ include "meshpass.selector" .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "meshpass.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "meshpass.publicUrl" -}}
{{- $host := required "broker.host: the public DNS name of the broker, such as broker.example.com" .Values.broker.host -}}
https://{{ $host }}
{{- end }}

{{- define "meshpass.edgeHost" -}}
{{ required "edge.host: the public DNS name of the edge, such as edge.example.com" .Values.edge.host }}
{{- end }}

{{- define "meshpass.istiod" -}}
{{ .Values.mesh.istiod }}.{{ .Values.mesh.rootNamespace }}.svc
{{- end }}

{{/* A plain file of this chart, for this namespace and this mesh, with labels. Arguments: root, component, name. */}}
{{- define "meshpass.file" -}}
{{- $text := required (printf "%s is missing" .name) (.root.Files.Get .name) -}}
{{- $text = $text | replace "meshpass-system" .root.Release.Namespace | replace "istio-system" .root.Values.mesh.rootNamespace -}}
{{- $labels := include "meshpass.labels" . | nindent 4 -}}
{{- regexReplaceAll "(?m)^metadata:$" $text (printf "metadata:\n  labels:%s" $labels) -}}
{{- end }}

{{/*
The text with one expression in the place of another, which must be in it: a file that was changed without its template must not be
installed as it is. Arguments: text, old, new.
*/}}
{{- define "meshpass.set" -}}
{{- if not (contains .old .text) }}{{ fail (printf "this chart is damaged: its files do not contain %q" .old) }}{{ end -}}
{{- .text | replace .old .new -}}
{{- end }}

{{/* Services that access files may grant, as a list of CEL: those of the values, or else exactly those that the access file grants now. */}}
{{- define "meshpass.services" -}}
{{- $services := .Values.admission.services -}}
{{- if not $services -}}
{{- if not (or .Values.access.content .Values.access.configMap) }}{{ fail "access.content: set the access file (--set-file access.content=access.yaml), or set access.configMap" }}{{ end -}}
{{- $access := .Values.access.content | fromYaml -}}
{{- if or (not $access.grants) $access.include }}{{ fail "admission.services: list the services that access files may grant, such as orders.shop or *.preview-*" }}{{ end -}}
{{- range $name, $grant := $access.grants -}}
{{- range $grant.to -}}
{{- if not .service }}{{ fail (printf "admission.services: list the services that access files may grant, because grant %s selects some by label or pattern" $name) }}{{ end -}}
{{- $services = append $services .service -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $services -}}
{{- if not (regexMatch "^[a-z0-9*-]+[.][a-z0-9*-]+$" .) }}{{ fail (printf "admission.services: %q is not in the form SERVICE.NAMESPACE" .) }}{{ end -}}
{{- end -}}
['{{ $services | uniq | sortAlpha | join "', '" }}']
{{- end }}

{{/* Audience of the tokens with which workspaces use the API server. Empty if they do not use it. */}}
{{- define "meshpass.kubernetesAudience" -}}
{{- if .Values.kubernetes.enabled }}{{ .Values.kubernetes.audience | default (printf "https://kubernetes.default.svc.%s" .Values.mesh.clusterDomain) }}{{ end }}
{{- end }}
