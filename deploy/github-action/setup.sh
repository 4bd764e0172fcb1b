#!/usr/bin/env bash
# Makes the pinned executable of the release ready, after its SHA-256 was checked, and says by which command the next steps call it.
# Pins are in release.txt, which is part of the commit that the workflow names.
set -euo pipefail

fail() {
  echo "::error title=Meshpass::$1"
  exit 1
}

if [ -n "$MESHPASS" ]; then
  echo "command=$MESHPASS" >>"$GITHUB_OUTPUT"
  exit 0
fi

case "$(uname -s) $(uname -m)" in
  'Linux x86_64') arch=x64 ;;
  'Linux aarch64' | 'Linux arm64') arch=arm64 ;;
  *) fail "No executable is available for $(uname -s) on $(uname -m). Use a Linux runner, or set the input meshpass to a command." ;;
esac
name="meshpass-linux-$arch"
pins="$GITHUB_ACTION_PATH/release.txt"
version="$(sed -n 's/^version //p' "$pins")"
sha256="$(sed -n "s/^\([0-9a-f]\{64\}\)  $name\.tar\.gz\$/\1/p" "$pins")"
if [ -z "$version" ] || [ -z "$sha256" ]; then
  fail "This commit of the action does not pin a release. Use the commit of a release, or set the input meshpass to a command."
fi

folder="$RUNNER_TEMP/meshpass-$version"
archive="$folder/$name.tar.gz"
mkdir -p "$folder"
curl --fail --silent --show-error --location --retry 3 --max-time 300 --output "$archive" \
  "${RELEASES%/}/v$version/$name.tar.gz" || fail "Cannot download Meshpass $version from $RELEASES."
if ! echo "$sha256  $archive" | sha256sum --check --strict --status; then
  rm -f "$archive"
  fail "The download is not Meshpass $version: its SHA-256 differs from the pinned $sha256. Nothing was run."
fi
tar -xzf "$archive" -C "$folder" "$name/meshpass"
rm -f "$archive"
echo "command=$folder/$name/meshpass" >>"$GITHUB_OUTPUT"
