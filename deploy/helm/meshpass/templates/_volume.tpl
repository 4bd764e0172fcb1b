{{/*
Refuses what Kubernetes would refuse of the claim that is there: another class, less space, more space of a class that does not grow. Under
`helm template`, and so under Argo CD, nothing can be looked up, and Kubernetes' own refusal is what one sees.
*/}}
{{- define "meshpass.checkVolume" -}}
{{- $wanted := .Values.database.embedded -}}
{{- with lookup "v1" "PersistentVolumeClaim" .Release.Namespace "meshpass-data" -}}
{{- $class := .spec.storageClassName | default "" -}}
{{- /* Once it is set, it cannot be omitted: Helm would remove it. */ -}}
{{- $given := dig "annotations" "meshpass.dev/storage-class" "" .metadata -}}
{{- $keep := printf "the volume meshpass-data uses the StorageClass %q, which cannot be changed in Kubernetes. Set database.embedded.storageClass back to it, or move to PostgreSQL (database.secret)" $class -}}
{{- if and $wanted.storageClass (ne $wanted.storageClass $class) }}{{ fail (printf "database.embedded.storageClass: %s" $keep) }}{{ end -}}
{{- if and $given (not $wanted.storageClass) }}{{ fail (printf "database.embedded.storageClass: %s" $keep) }}{{ end -}}
{{- $size := .spec.resources.requests.storage -}}
{{- $now := include "meshpass.bytes" $size | float64 -}}
{{- $then := include "meshpass.bytes" $wanted.size | float64 -}}
{{- if lt $then $now }}{{ fail (printf "database.embedded.size: %s is smaller than the volume meshpass-data (%s), and Kubernetes cannot shrink volumes. Set %s or more" $wanted.size $size $size) }}{{ end -}}
{{- if gt $then $now -}}
{{- $found := lookup "storage.k8s.io/v1" "StorageClass" "" $class -}}
{{- if not (dig "allowVolumeExpansion" false $found) }}{{ fail (printf "database.embedded.size: the StorageClass %q does not support larger volumes (allowVolumeExpansion). Set it back to %s, or move to PostgreSQL (database.secret)" $class $size) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* A quantity of Kubernetes as a number. */}}
{{- define "meshpass.bytes" -}}
{{- $units := dict "" 1 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 -}}
{{- mulf (regexFind "^[0-9.]+" . | float64) (get $units (regexReplaceAll "^[0-9.]+" . "") | float64) -}}
{{- end }}
