#!/bin/sh
# Pushes the chart and signs it. Prints the digest.
#   sh deploy/helm/publish.sh ARCHIVE IMAGE VERSION [flags of cosign...]
# A version is published once: if another chart is published, nothing is done. The same one is signed again, where an earlier run stopped.
set -eu
archive="$1" image="$2" version="$3"
shift 3
digest="$(sh "$(dirname "$0")/../registry/published.sh" "$image:$version")"
if [ -n "$digest" ]; then
  # Helm writes the time of the push into the manifest: the chart within is compared.
  manifest="$(skopeo inspect --raw "docker://$image@$digest")"
  there="$(printf '%s' "$manifest" | jq -r '.layers[0].digest')"
  if [ "$there" != "sha256:$(sha256sum < "$archive" | cut -d ' ' -f 1)" ]; then
    echo "Chart $image:$version is published already, as $digest, and is not replaced. Publish a higher version." >&2
    exit 1
  fi
else
  work="$(mktemp -d)"
  trap 'rm -rf "$work"' EXIT
  cp "$archive" "$work/meshpass-$version.tgz"
  pushed="$(helm push "$work/meshpass-$version.tgz" "oci://${image%/*}" 2>&1)"
  digest="$(printf '%s\n' "$pushed" | sed -n 's/^Digest: //p')"
  test -n "$digest"
fi
cosign sign --yes "$@" "$image@$digest" >&2
echo "$digest"
