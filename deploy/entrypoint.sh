#!/bin/sh
# Put secrets from files into the environment, and become the command: NAME_FILE=/run/secrets/name sets NAME.
set -eu
for name in COMPASS_BACKEND_KEY COMPASS_SERVE_KEYS COMPASS_WEBHOOK_SECRET COMPASS_API_KEY PGPASSWORD VLLM_API_KEY; do
  eval "file=\${${name}_FILE:-}"
  [ -n "$file" ] || continue
  [ -r "$file" ] || { echo "${name}_FILE: $file can't be read by user $(id -u). Make it readable (chmod 644)." >&2; exit 1; }
  value=$(cat "$file")
  export "$name=$value"
  unset "${name}_FILE"
done
exec "$@"
