#!/bin/sh
# Prints the highest version X.Y.Z that a registry has under a name, of those that begin with PREFIX; nothing where it has none.
#   sh deploy/registry/newest.sh IMAGE [PREFIX]
set -eu
tags="$(skopeo list-tags "docker://$1")"
names="$(printf '%s' "$tags" | jq -r '.Tags[]')"
printf '%s\n' "$names" | awk -v prefix="${2:-}" '
  /^[0-9]+\.[0-9]+\.[0-9]+$/ && (prefix == "" || index($0, prefix) == 1)' | sort --version-sort | tail -n 1
