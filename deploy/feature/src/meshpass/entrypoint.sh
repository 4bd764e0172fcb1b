# shellcheck shell=sh
# shellcheck disable=SC2154 # install.sh writes the settings
# Read by the shell that is the first process of the container, when it starts. That shell ends on SIGTERM at once, and everything with
# it: so it says goodbye first. It has neither the secrets of the Codespace nor its remote variables, and needs none.
# shellcheck source=/dev/null
. /usr/local/lib/meshpass/settings

# Ends every agent, and waits at most five seconds; `docker stop` waits ten.
meshpass_goodbye() {
  meshpass_agents=
  for meshpass_process in /proc/[0-9]*; do
    # Its words, without anything between them: the shell leaves out what is no character. /proc/PID/exe shows root nothing
    # in a container, which lacks the capability.
    meshpass_words=
    read -r meshpass_words 2>/dev/null <"$meshpass_process/cmdline"
    case $meshpass_words in
      /usr/local/lib/meshpass/meshpass__agent*)
        kill -TERM "${meshpass_process#/proc/}" 2>/dev/null && meshpass_agents="$meshpass_agents ${meshpass_process#/proc/}"
        ;;
    esac
  done
  meshpass_left=50
  for meshpass_agent in $meshpass_agents; do
    while kill -0 "$meshpass_agent" 2>/dev/null && [ "$meshpass_left" -gt 0 ]; do
      sleep 0.1
      meshpass_left=$((meshpass_left - 1))
    done
  done
}
trap 'meshpass_goodbye; exit 0' TERM

# The agent writes the names of services. Where the remote user has no sudo, the file becomes theirs.
if [ "$meshpass_by_name" = true ] && [ "$meshpass_remote_user" != root ] && [ "$(id -u)" = 0 ] && ! command -v sudo >/dev/null; then
  chown "$meshpass_remote_user" /etc/hosts || echo "meshpass: cannot change the owner of /etc/hosts to $meshpass_remote_user" >&2
fi
