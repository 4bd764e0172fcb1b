#!/bin/sh
# Pushes the Feature, and the collection that lists it, from an OCI layout.
#   sh deploy/feature/publish.sh LAYOUT NAME VERSION
# LAYOUT is `oci/` of what `npm run build:feature` wrote, NAME that of the collection. A version is published once. The tags X.Y, X and latest, and
# the collection, follow the highest version: a fix of an older one does not move them back. A run with the same bytes continues where an earlier run stopped.
set -eu
layout="$1" name="$2" version="$3"
registry="$(dirname "$0")/../registry"
digest="sha256:$(skopeo inspect --raw "oci:$layout:feature" | sha256sum | cut -d ' ' -f 1)"
published="$(sh "$registry/published.sh" "$name/meshpass:$version")"
if [ -n "$published" ] && [ "$published" != "$digest" ]; then
  echo "$name/meshpass:$version is published already, and is not replaced. Publish a higher version." >&2
  exit 1
fi
push() { skopeo copy --quiet --preserve-digests "oci:$layout:$1" "docker://$2"; }
push feature "$name/meshpass:$version"
for prefix in "${version%.*}." "${version%%.*}." ""; do
  newest="$(sh "$registry/newest.sh" "$name/meshpass" "$prefix")"
  if [ "$newest" = "$version" ]; then
    tag="${prefix%.}"
    push feature "$name/meshpass:${tag:-latest}"
    [ -n "$tag" ] || push collection "$name:latest"
  fi
done
