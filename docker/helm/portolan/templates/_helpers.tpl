{{/* The label app.kubernetes.io/name. */}}
{{- define "portolan.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end -}}

{{/* The name of the objects. */}}
{{- define "portolan.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride -}}
{{- end -}}

{{/* The labels that select the pods. */}}
{{- define "portolan.labels" -}}
app.kubernetes.io/name: {{ include "portolan.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "portolan.serviceAccountName" -}}
{{- default (include "portolan.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "portolan.image" -}}
{{- .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "@%s" .Values.image.digest -}}
{{- else -}}
{{- printf ":%s" (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The kubelet's probes connect to the health server's port, on loopback if the server listens only there. */}}
{{- define "portolan.probeTarget" -}}
{{- $address := default "0.0.0.0:10256" .Values.config.healthzBindAddress -}}
port: {{ regexFind "[0-9]+$" $address }}
{{- if hasPrefix "127." $address }}
host: 127.0.0.1
{{- else if hasPrefix "[::1]" $address }}
host: "::1"
{{- end -}}
{{- end -}}

{{- define "portolan.metricsAddress" -}}
{{- default "127.0.0.1:10249" .Values.config.metricsBindAddress -}}
{{- end -}}
