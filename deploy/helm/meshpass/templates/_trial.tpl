{{/*
A trial (docs/install/trial.md), NOT FOR PRODUCTION: stand-ins for GitHub and a Codespace, in the image of the trial only. Sets the values that a
trial has of its own, and refuses those of a real installation. Each template that reads values begins with it.
*/}}
{{- define "meshpass.trial" -}}
{{- $trial := .Values.trial -}}
{{- if and $trial.enabled (not $trial.isPrepared) -}}
{{- include "meshpass.checkTrial" . -}}
{{- $name := "meshpass-insecure-trial" -}}
{{- $resources := dict "requests" (dict "cpu" "50m" "memory" "128Mi") "limits" (dict "memory" "1Gi") -}}
{{- range $part := list "broker" "edge" -}}
{{- $values := get $.Values $part -}}
{{- $_ := set $values "host" (printf "meshpass-%s.%s.svc" $part $.Release.Namespace) -}}
{{- $_ := set $values.service "type" "ClusterIP" -}}
{{- $_ := set $values "resources" $resources -}}
{{- end -}}
{{- $_ := set .Values.broker "extraArgs" (append .Values.broker.extraArgs (printf "--lab-only-send-github-tokens-to=%s.%s.svc:8444" $name .Release.Namespace)) -}}
{{- $_ := set .Values.edge.autoscaling "minReplicas" 1 -}}
{{- $_ := set .Values.edge.autoscaling "maxReplicas" 1 -}}
{{- $_ := set .Values.gateway "replicas" 1 -}}
{{- $_ := set .Values.gateway "resources" $resources -}}
{{- $_ := set .Values.certificates "brokerSecret" $name -}}
{{- $_ := set .Values.certificates "edgeSecret" $name -}}
{{- $_ := set .Values.certificates "trust" (dict "configMap" $name "key" "ca.crt") -}}
{{- $_ := set .Values "github" (dict "appId" "4242" "secret" $name "api" (printf "https://%s.%s.svc" $name .Release.Namespace) "presence" "required" "auditStream" false) -}}
{{- $_ := set .Values.keys "secret" (printf "%s-keys" $name) -}}
{{- /* Its token is in the broker's Pod: `kubectl exec` is the operator of a trial. */ -}}
{{- $_ := set .Values.breakGlass "enabled" true -}}
{{- $_ := set .Values.image "repository" (printf "%s-insecure-trial" .Values.image.repository) -}}
{{- $_ := set .Values.access "content" (include "meshpass.trialAccess" $trial) -}}
{{- $_ := set $trial "isPrepared" true -}}
{{- end -}}
{{- end }}

{{/* The access file: alice of the stand-in's team may make exactly one call. */}}
{{- define "meshpass.trialAccess" -}}
{{- $service := splitList ":" .service -}}
trust:
  codespaces: {organization: acme}
grants:
  trial:
    who: [{team: acme/payments, repository: acme/payments-*}]
    to: [{service: {{ first $service }}, port: {{ last $service }}, allow: [GET {{ .path }}]}]
{{- end }}

{{- define "meshpass.checkTrial" -}}
{{- $_ := required "trial.service: the service that the trial may call, NAME.NAMESPACE:PORT, such as orders.shop:8080" .Values.trial.service -}}
{{- $own := list
  (list "github.appId" .Values.github.appId)
  (list "github.auditStream" .Values.github.auditStream)
  (list "broker.host" .Values.broker.host)
  (list "edge.host" .Values.edge.host)
  (list "access.content" .Values.access.content)
  (list "access.configMap" .Values.access.configMap)
  (list "certificates.issuer.name" .Values.certificates.issuer.name)
  (list "certificates.trust.configMap" .Values.certificates.trust.configMap)
  (list "database.secret" .Values.database.secret)
  (list "approvals.webhookSecret" .Values.approvals.webhookSecret)
  (list "approvals.pageUrl" .Values.approvals.pageUrl)
  (list "kubernetes.enabled" .Values.kubernetes.enabled)
  (list "gitops" .Values.gitops) -}}
{{- range $own -}}
{{- if last . }}{{ fail (printf "trial.enabled: a trial trusts a stand-in for GitHub, so it cannot use the values of a real installation. Remove %s, or trial.enabled" (first .)) }}{{ end -}}
{{- end -}}
{{- if ne .Values.github.api "https://api.github.com" }}{{ fail "trial.enabled: a trial uses its own API. Remove github.api, or trial.enabled" }}{{ end -}}
{{- $isTrial := lookup "v1" "ConfigMap" .Release.Namespace "meshpass-insecure-trial" -}}
{{- if not $isTrial -}}
{{- if lookup "rbac.authorization.k8s.io/v1" "ClusterRoleBinding" "" "meshpass-broker" }}{{ fail "trial.enabled: ClusterRoleBinding meshpass-broker belongs to a real installation, which a trial would take over and remove. Use another cluster, or remove it first (docs/install/removal.md)" }}{{ end -}}
{{- range list (list "apps/v1" "Deployment" "meshpass-broker") (list "v1" "PersistentVolumeClaim" "meshpass-data") (list "v1" "ConfigMap" "meshpass-audit-checkpoint") -}}
{{- if lookup (index . 0) (index . 1) $.Release.Namespace (index . 2) }}{{ fail (printf "trial.enabled: %s %s belongs to a real installation in namespace %s, which a trial would take over and remove. Use another cluster, or remove it first (docs/install/removal.md)" (index . 1) (index . 2) $.Release.Namespace) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end }}
