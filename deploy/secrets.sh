#!/bin/sh
# Draw what compose.yaml reads from secrets/; what is there stays. Prints the key of the first client, once.
set -eu
umask 022
cd "$(dirname "$0")"
mkdir -p secrets && chmod 700 secrets # Containers get the files one by one, so only the folder is closed.
for name in database_password backend_key grafana_password; do
  [ -s "secrets/$name" ] || openssl rand -hex 32 > "secrets/$name"
done
if [ ! -s secrets/client_keys.yaml ]; then
  key=$(openssl rand -hex 32)
  printf 'first:\n  sha256: %s\n' "$(printf %s "$key" | sha256sum | cut -d ' ' -f 1)" > secrets/client_keys.yaml
  echo "Key of the client \"first\", which is stored nowhere: $key"
fi
