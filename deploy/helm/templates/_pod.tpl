{{- define "alpharay.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "alpharay.claim" -}}
{{- .Values.models.claim | default (printf "%s-models" (include "alpharay.name" .)) -}}
{{- end -}}

{{- /* The configuration of the values, with the keys' file where a secret holds it. */ -}}
{{- define "alpharay.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.keysSecret -}}
{{- $server := get $config "server" | default dict -}}
{{- $_ := set $server "api_keys_file" "/etc/alpharay-keys/keys.yaml" -}}
{{- $_ := set $config "server" $server -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* A pod's spec. Call with (dict "root" $ "requests" … "limits" … "gpu" bool). */ -}}
{{- define "alpharay.pod" -}}
{{- $values := .root.Values -}}
{{- $name := include "alpharay.name" .root -}}
{{- $cache := printf "%s/.alpharay" $values.models.mountPath -}}
{{- with $values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- if .gpu }}
{{- with $values.gpus.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- with $values.gpus.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.gpus.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
containers:
  - name: ray
    image: {{ printf "%s:%s" $values.image.repository (toString $values.image.tag) | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    command: [] # KubeRay starts Ray in place of the image's own command
    ports:
      - {name: gcs, containerPort: 6379}
      - {name: dashboard, containerPort: 8265}
      - {name: serve, containerPort: 8000}
      - {name: metrics, containerPort: 8080}
    env:
      - {name: ALPHARAY_CACHE, value: {{ $cache | quote }}}
      - {name: VLLM_CACHE_ROOT, value: {{ printf "%s/vllm" $cache | quote }}}
      - {name: TRITON_CACHE_DIR, value: {{ printf "%s/triton" $cache | quote }}}
      - {name: RAY_USAGE_STATS_ENABLED, value: "0"}
      {{- with $values.storeSecret }}
      - name: ALPHARAY_STORE
        valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: url}}
      {{- end }}
      {{- with $values.env }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    resources:
      requests: {{- toYaml .requests | nindent 8 }}
      limits: {{- toYaml .limits | nindent 8 }}
    volumeMounts:
      - {name: models, mountPath: {{ $values.models.mountPath | quote }}}
      - {name: config, mountPath: /etc/alpharay}
      - {name: shm, mountPath: /dev/shm}
      {{- if $values.keysSecret }}
      - {name: keys, mountPath: /etc/alpharay-keys, readOnly: true}
      {{- end }}
volumes:
  - name: models
    persistentVolumeClaim: {claimName: {{ include "alpharay.claim" .root | quote }}}
  - name: config
    configMap: {name: {{ $name | quote }}}
  - name: shm
    emptyDir: {medium: Memory, sizeLimit: {{ $values.sharedMemory | quote }}}
  {{- with $values.keysSecret }}
  - name: keys
    secret: {secretName: {{ . | quote }}}
  {{- end }}
{{- end -}}
