{{/* The image, by digest where there is one. */}}
{{- define "imageset-controller.image" -}}
{{- $repository := .Values.image.repository -}}
{{- with .Values.image.registry }}{{ $repository = printf "%s/%s" (trimSuffix "/" .) $repository }}{{ end -}}
{{- $tag := .Values.image.tag | default (printf "v%s" .Chart.AppVersion) -}}
{{- $repository }}:{{ $tag }}{{ with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/* The account, as subject of a binding. */}}
{{- define "imageset-controller.subjects" -}}
subjects:
- kind: ServiceAccount
  name: imageset-controller
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* What Pod Security is to enforce in a namespace: whether pods in the node's network are to be admitted is given. */}}
{{- define "imageset-controller.podSecurity" -}}
{{- $level := ternary "privileged" "restricted" . -}}
pod-security.kubernetes.io/enforce: {{ $level }}
pod-security.kubernetes.io/audit: {{ $level }}
pod-security.kubernetes.io/warn: {{ $level }}
{{- end }}

{{/* Three namespaces with different rights in each: in one, they would be given for all. */}}
{{- define "imageset-controller.namespaces" -}}
{{- $own := .Release.Namespace -}}
{{- $operator := .Values.operatorNamespace -}}
{{- $inspection := .Values.inspection.namespace -}}
{{- if or (eq $own $operator) (and .Values.inspection.enabled (or (eq $own $inspection) (eq $operator $inspection))) -}}
{{- fail (printf "the namespaces of the release (%s), of the operator (%s) and of inspection (%s) must be different: install with --namespace imageset-controller --create-namespace" $own $operator $inspection) -}}
{{- end -}}
{{- end }}
