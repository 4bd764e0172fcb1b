{{/* Common flags of `meshpass serve` and `meshpass audit accept-restore`: places of the log and its keys. */}}
{{- define "meshpass.logArgs" -}}
- --public-url={{ include "meshpass.publicUrl" . }}
- --data=/var/lib/meshpass/data
- --audit-key=/etc/meshpass/keys/audit-key.pem
- --audit-checkpoint-configmap={{ .Release.Namespace }}/meshpass-audit-checkpoint
{{- end }}

{{- define "meshpass.brokerEnv" -}}
{{- with .Values.database.secret }}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef: {name: {{ . }}, key: url}
{{- end }}
{{- include "meshpass.trustEnv" . }}
{{- if .Values.breakGlass.enabled }}
# Commands that run in this Pod also use the token.
- {name: MESHPASS_OPERATOR_TOKEN_FILE, value: /etc/meshpass/keys/operator-token}
- {name: MESHPASS_BREAK_GLASS, value: "true"}
{{- end }}
# Memory: docs/operating-broker.md, "How much memory".
- {name: NODE_OPTIONS, value: --max-semi-space-size=8}
- {name: MALLOC_ARENA_MAX, value: "2"}
{{- end }}

{{- define "meshpass.brokerMounts" -}}
- {name: keys, mountPath: /etc/meshpass/keys, readOnly: true}
- {name: data, mountPath: /var/lib/meshpass}
{{- include "meshpass.trustMount" . }}
{{- end }}

{{- define "meshpass.brokerVolumes" -}}
- name: keys
  secret:
    secretName: {{ .Values.keys.secret }}
    defaultMode: 0440
    # Other entries of the Secret, such as an operator token while break-glass is off, are not mounted. The broker's ServiceAccount can
    # still read them: the broker reads its signing key from the Secret itself, because it replaces it (files/signing-key.yaml).
    items:
      - {key: audit-key.pem, path: audit-key.pem}
      {{- if .Values.breakGlass.enabled }}
      - {key: operator-token, path: operator-token}
      {{- end }}
- name: data
{{- if .Values.database.secret }}
  # A copy of the audit log's last checkpoint, for a container that starts again. Durable state is in PostgreSQL, in the Secrets, and, so
  # that PostgreSQL alone cannot take it back, in the ConfigMap meshpass-audit-checkpoint.
  emptyDir: {sizeLimit: 64Mi}
{{- else }}
  persistentVolumeClaim: {claimName: meshpass-data}
{{- end }}
{{- include "meshpass.trustVolume" . }}
{{- end }}

{{/* With the embedded store there is one broker. */}}
{{- define "meshpass.brokerReplicas" -}}
{{ ternary .Values.broker.replicas 1 (not (empty .Values.database.secret)) }}
{{- end }}

{{/*
The text of the access file, for a block of YAML. YAML ends lines not only at a line feed: behind another end, a comment of the file would
continue as an object of its own, with all the rights of the user who installs the chart.
*/}}
{{- define "meshpass.access" -}}
{{- $text := required "access.content: set the access file (--set-file access.content=access.yaml), or set access.configMap" .Values.access.content | replace "\r\n" "\n" -}}
{{- if regexMatch "[\\r\\x{85}\\x{2028}\\x{2029}]" $text }}{{ fail "access.content: lines must end with a line feed, but the file contains a different line break (CR, NEL, LS or PS)" }}{{ end -}}
{{- $text -}}
{{- end }}

{{/*
Refuses an upgrade that leaves Meshpass without operators: it removes the operator token, and the access file gives no person a role.
Under `helm template`, and so under Argo CD, the chart cannot look anything up: there the broker warns.
*/}}
{{- define "meshpass.checkOperators" -}}
{{- if not .Values.breakGlass.enabled -}}
{{- with lookup "apps/v1" "Deployment" .Release.Namespace "meshpass-broker" -}}
{{- $text := $.Values.access.content | default "" -}}
{{- with $.Values.access.configMap }}{{ $text = dig "data" "access.yaml" "" (lookup "v1" "ConfigMap" $.Release.Namespace .) }}{{ end -}}
{{- if and (contains "MESHPASS_OPERATOR_TOKEN_FILE" (toJson .)) (not (include "meshpass.givesRoles" $text)) -}}
{{- fail (printf "breakGlass.enabled: this upgrade removes the operator token (Secret %s), and the access file does not assign any roles, so Meshpass would have no operators. Set breakGlass.enabled: true for this upgrade, assign roles to operators in the access file, sign in (docs/install/operators.md), then set it back to false. %s" $.Values.keys.secret (include "meshpass.onlyThisFile" .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Advice if the access file of the values is not the one in force. */}}
{{- define "meshpass.onlyThisFile" -}}
The chart sees only the access file of its values, not one that was applied by plan. If one was, also copy its "operators" (and the "trust" that they refer to) into the file in the values, which the broker does not use while an applied file is in force
{{- end }}

{{/* "true" if an access file gives a person or a ServiceAccount a role. */}}
{{- define "meshpass.givesRoles" -}}
{{- $operators := get (fromYaml .) "operators" | default dict -}}
{{- if omit $operators "session" "confirm" "deviceFlow" | values | compact }}true{{ end -}}
{{- end }}
