{{/* Settings of every Pod of this chart: the restricted Pod Security Standard, and its placement. */}}

{{- define "meshpass.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "meshpass.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Arguments: root, component. */}}
{{- define "meshpass.scheduling" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
topologySpreadConstraints:
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "meshpass.selector" $.component | nindent 8 }}
{{- end }}
{{- end }}

{{/* Certificate authorities beside those of the system, for GitHub Enterprise, PostgreSQL and certificates of a private CA. */}}
{{- define "meshpass.trustEnv" -}}
{{- if .Values.certificates.trust.configMap }}
- {name: NODE_EXTRA_CA_CERTS, value: /etc/meshpass/trust/ca.crt}
{{- end }}
{{- end }}

{{- define "meshpass.trustMount" -}}
{{- if .Values.certificates.trust.configMap }}
- {name: trust, mountPath: /etc/meshpass/trust, readOnly: true}
{{- end }}
{{- end }}

{{- define "meshpass.trustVolume" -}}
{{- with .Values.certificates.trust }}
{{- if .configMap }}
- name: trust
  configMap:
    name: {{ .configMap }}
    items: [{key: {{ .key | quote }}, path: ca.crt}]
{{- end }}
{{- end }}
{{- end }}
