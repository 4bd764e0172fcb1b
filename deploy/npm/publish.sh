#!/bin/sh
# Publishes the packed packages of a version, those that others depend on first.
#   sh deploy/npm/publish.sh FOLDER VERSION [flags of npm publish...]
# FOLDER has the archives. A version is published once: a published one with other bytes ends the run, and the same bytes are passed over, so that
# the next run continues where one stopped. The tag latest follows the highest version: a fix of an older one does not move it back.
set -eu
folder="$(cd "$1" && pwd)" version="$2"
shift 2
error="$(mktemp)"
trap 'rm -f "$error"' EXIT
# What npm has there; nothing where it has no such package or version. Any other answer ends this.
view() { npm view "$@" 2> "$error" || grep -q E404 "$error" || { cat "$error" >&2; return 1; }; }
latest="$(view @meshpass/cli dist-tags.latest)"
newest="$(printf '%s\n' "$version" $latest | sort --version-sort | tail -n 1)"
[ "$newest" = "$version" ] && tag=latest || tag="release-${version%.*}"
for name in envoy-linux-x64 envoy-linux-arm64 identity envoy istio access analysis edge agent broker cli; do
  archive="$folder/meshpass-$name-$version.tgz"
  there="$(view "@meshpass/$name@$version" dist.integrity)"
  if [ "$there" = "sha512-$(openssl dgst -sha512 -binary "$archive" | base64 -w 0)" ]; then
    echo "@meshpass/$name@$version is published already."
    continue
  fi
  if [ -n "$there" ]; then
    echo "@meshpass/$name@$version is published already with other bytes, and is not replaced. Publish a higher version." >&2
    exit 1
  fi
  npm publish --ignore-scripts --access public --tag "$tag" "$@" "$archive"
done
