#!/usr/bin/env bash
# Has the broker plan the access file, and writes the plan, or why there is none, into the folder that comment.mjs reads.
set -euo pipefail

folder="$RUNNER_TEMP/meshpass-comment"
mkdir -p "$folder"
rm -f "$folder"/plan.*
if [ "$HEAD_REPOSITORY" != "$GITHUB_REPOSITORY" ] && [ -z "${ACTIONS_ID_TOKEN_REQUEST_URL:-}" ]; then
  echo "GitHub gives pull requests from forks no OIDC token, so the broker cannot plan this one." | tee "$folder/plan.error.txt"
  exit 0
fi
code=0
$MESHPASS policy apply --dry-run --output markdown >"$folder/plan.md" 2>"$folder/plan.error.txt" || code=$?
bash "$GITHUB_ACTION_PATH/print.sh" "$folder/plan.error.txt" "$folder/plan.md"
exit "$code"
