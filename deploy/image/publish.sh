#!/bin/sh
# Pushes the image for all processors, signs it, and attests the bill of materials of each processor's image. Prints the digest.
#   sh deploy/image/publish.sh FOLDER IMAGE VERSION [flags of cosign...]
# FOLDER is what `npm run build:image -- --arch x64 --arch arm64` wrote. Without flags cosign signs with the workflow's own identity.
# A version is published once: if the registry has it with other bytes, nothing is done. A run with the same bytes continues where an earlier run stopped.
set -eu
folder="$1" image="$2" version="$3"
shift 3
archive="oci-archive:$folder/meshpass-linux.oci.tar:$version"
digest="sha256:$(skopeo inspect --raw "$archive" | sha256sum | cut -d ' ' -f 1)"
published="$(sh "$(dirname "$0")/../registry/published.sh" "$image:$version")"
if [ -n "$published" ] && [ "$published" != "$digest" ]; then
  echo "$image:$version is published already, as $published, and is not replaced by $digest. Publish a higher version." >&2
  exit 1
fi
skopeo copy --quiet --all --preserve-digests "$archive" "docker://$image:$version" >&2
cosign sign --yes --recursive "$@" "$image@$digest" >&2
for arch in x64 arm64; do
  sbom="$folder/meshpass-linux-$arch.cdx.json"
  of="sha256:$(jq -r '.metadata.component.hashes[0].content' "$sbom")"
  cosign attest --yes --type cyclonedx --predicate "$sbom" "$@" "$image@$of" >&2
done
echo "$digest"
