{{/* A Pod of `helm test`: one command of the image, without any right in the cluster. Arguments: root, name, args. */}}
{{- define "meshpass.testPod" -}}
{{- $labels := dict "root" .root "component" "test" -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "meshpass.labels" $labels | nindent 4 }}
    sidecar.istio.io/inject: "false"
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    {{- include "meshpass.podSecurity" .root | nindent 4 }}
  {{- include "meshpass.scheduling" $labels | nindent 2 }}
  containers:
    - name: test
      image: {{ include "meshpass.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: {{ toJson .args }}
      {{- with include "meshpass.trustEnv" .root }}
      env:
        {{- . | trim | nindent 8 }}
      {{- end }}
      resources:
        requests: {cpu: 50m, memory: 96Mi}
        limits: {memory: 256Mi}
      securityContext:
        {{- include "meshpass.containerSecurity" .root | nindent 8 }}
      {{- with include "meshpass.trustMount" .root }}
      volumeMounts:
        {{- . | trim | nindent 8 }}
      {{- end }}
  {{- with include "meshpass.trustVolume" .root }}
  volumes:
    {{- . | trim | nindent 4 }}
  {{- end }}
{{- end }}
