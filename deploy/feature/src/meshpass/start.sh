#!/bin/sh
# shellcheck disable=SC2154 # install.sh writes the settings
# postStartCommand: starts the agent, after create and after every resume, as the remote user.
# Always succeeds: a failure would prevent the commands that devcontainer.json runs after it.
# shellcheck source=/dev/null
. /usr/local/lib/meshpass/settings

if [ "$meshpass_autostart" != true ]; then
  echo "meshpass: not started (autostart is false); start it with: meshpass up"
elif [ -n "${ACTIONS_ID_TOKEN_REQUEST_URL:-}" ]; then
  echo "meshpass: not started, because this is a prebuild, which does not get an identity"
elif [ -z "$meshpass_broker" ] && [ -z "${MESHPASS_BROKER:-}" ]; then
  echo "meshpass: not started, because no broker is set; set the option broker of the Feature, or MESHPASS_BROKER" >&2
else
  /usr/local/lib/meshpass/command up || echo "meshpass: not started; run meshpass doctor to see why" >&2
fi
exit 0
