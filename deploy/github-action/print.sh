#!/usr/bin/env bash
# Prints files into the job log, in which no text of them becomes a command of the runner.
set -euo pipefail
token="$(cat /proc/sys/kernel/random/uuid)"
echo "::stop-commands::$token"
cat -- "$@"
echo
echo "::$token::"
