#!/bin/sh
# Prints the digest that a registry has under a name, or nothing where it has none. Fails where the registry does not say.
#   sh deploy/registry/published.sh IMAGE:TAG
set -eu
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
if skopeo inspect --raw "docker://$1" > "$work/manifest" 2> "$work/error"; then
  echo "sha256:$(sha256sum < "$work/manifest" | cut -d ' ' -f 1)"
# Registries deny what is not there to clients that may not know it. Clients that may push may read, so for them it does not exist.
elif ! grep -qiE 'manifest unknown|name unknown|not found|denied|unauthorized' "$work/error"; then
  cat "$work/error" >&2
  exit 1
fi
