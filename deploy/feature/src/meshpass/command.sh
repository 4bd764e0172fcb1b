#!/bin/sh
# shellcheck disable=SC2154 # install.sh writes the settings
# The command `meshpass`, with what devcontainer.json says. The environment wins.
# shellcheck source=/dev/null
. /usr/local/lib/meshpass/settings

if [ -n "$meshpass_broker" ]; then
  export MESHPASS_BROKER="${MESHPASS_BROKER:-$meshpass_broker}"
fi
if [ "$meshpass_by_name" = false ]; then
  export MESHPASS_BY_NAME="${MESHPASS_BY_NAME:-false}"
fi
exec /usr/local/lib/meshpass/meshpass "$@"
