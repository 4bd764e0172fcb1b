#!/usr/bin/env bash
# Compares the manifests of a pull request with those of its base commit. Writes Markdown into the folder that comment.mjs reads:
# changes.md (calls that open and close) and exposure.md (ways from outside that open), and the reason in *.error.txt if one of them
# could not be created. A comparison that fails is part of the comment and does not fail the job: only one side may be unreadable.
set -euo pipefail

folder="$RUNNER_TEMP/meshpass-comment"
work="$RUNNER_TEMP/meshpass-compare"
rm -rf "$work" "$folder"/{changes,exposure}.*
mkdir -p "$folder" "$work/base" "$work/head"

# The log has all of it; a comment has a maximum length.
print() { bash "$GITHUB_ACTION_PATH/print.sh" "$@"; }

not_compared() {
  printf '%s\n' "$1" | tee "$folder/changes.error.txt" >"$folder/exposure.error.txt"
  print "$folder/changes.error.txt"
  exit 0
}

# Copies manifests, with links to files as files, as the commands read them.
copy() {
  local paths=() path
  for path in "${@:2}"; do
    case "$path" in /*) paths+=("$path") ;; *) paths+=("./$path") ;; esac
  done
  find -H "${paths[@]}" \( -name .git -o -name node_modules \) -prune -o -xtype f -print0 |
    xargs --null --no-run-if-empty cp --dereference --parents --target-directory "$1" --
}

# The merge commit that GitHub makes for a pull request has the compared base as first parent. Without it (a checkout of the head), the
# event names the base.
base_commit() {
  local parents
  parents="$(git cat-file -p HEAD | sed -n '1,/^$/s/^parent //p')"
  if [ "$(sed -n 2p <<<"$parents")" = "$HEAD_SHA" ]; then sed -n 1p <<<"$parents"; else echo "$BASE_SHA"; fi
}

# The token of the job, which `persist-credentials: false` keeps out of the checkout. An empty value removes one that is in it.
authenticate() {
  local key="http.$GITHUB_SERVER_URL/.extraheader"
  export GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0="$key" GIT_CONFIG_VALUE_0="" GIT_CONFIG_KEY_1="$key" GIT_TERMINAL_PROMPT=0
  export GIT_CONFIG_VALUE_1="AUTHORIZATION: basic $(printf 'x-access-token:%s' "$GITHUB_TOKEN" | base64 --wrap=0)"
}

fetch_base() {
  local depth=()
  if git cat-file -e "$1^{commit}" 2>/dev/null; then return; fi
  if [ "$(git rev-parse --is-shallow-repository)" = true ]; then depth=(--depth=1); fi
  git fetch --quiet --no-tags --no-recurse-submodules "${depth[@]}" origin "$1" 2>"$work/fetch.txt"
}

# The whole tree, because a pattern may match other files there. Runs no hook.
check_out_base() {
  mkdir "$work/tree"
  GIT_INDEX_FILE="$work/index" git read-tree "$1" &&
    GIT_INDEX_FILE="$work/index" git checkout-index --all --quiet --prefix="$work/tree/"
}

read_base_from_git() {
  local other base
  [ -z "$(git rev-parse --show-prefix 2>&1)" ] ||
    not_compared "The working directory is not the root of a Git checkout."
  other="$(git ls-files --others -- $MANIFESTS ':(exclude,glob)**/node_modules/**' 2>/dev/null | grep -E '\.(ya?ml|json)$' | head -n 1)" || true
  if [ -n "$other" ]; then not_compared "$other is not part of the commit, so its state before the change is unknown. Pass that state as input base."; fi
  git ls-files --error-unmatch -- $MANIFESTS >/dev/null 2>"$work/unmatched.txt" ||
    not_compared "These manifests are not part of the repository, so their state before the change is unknown. Pass that state as input base. Git: $(head -n 1 "$work/unmatched.txt")"
  if git ls-files --stage -- $MANIFESTS | grep -q '^160000 '; then not_compared "Manifests in Git submodules are not compared."; fi
  base="$(base_commit)"
  authenticate
  fetch_base "$base" ||
    not_compared "The base commit $base is not in this checkout and could not be fetched: $(head -n 1 "$work/fetch.txt") Check out with fetch-depth: 0."
  # The base may have moved on since the branch began. A shallow checkout does not show it.
  base="$(git merge-base "$base" HEAD || echo "$base")"
  check_out_base "$base" ||
    not_compared "The base commit $base could not be checked out."
  echo "$base" >"$folder/base.txt"
  # Patterns of directories and files that the base commit does not have match nothing there.
  (cd "$work/tree" && shopt -s nullglob && existing=() &&
    for path in $MANIFESTS; do if [ -e "$path" ]; then existing+=("$path"); fi; done &&
    if [ ${#existing[@]} -gt 0 ]; then copy "$work/base" "${existing[@]}"; fi)
}

run() {
  local name="$1" code=0
  shift
  "$@" >"$folder/$name.md" 2>"$folder/$name.error.txt" || code=$?
  # 4: part of the answer is unknown, which the text explains.
  if [ "$code" -eq 0 ] || [ "$code" -eq 4 ]; then rm "$folder/$name.error.txt"; else rm "$folder/$name.md"; fi
  print "$folder/$name".*
}

if [ -n "$BASE" ]; then copy "$work/base" $BASE; else read_base_from_git; fi
copy "$work/head" $MANIFESTS
run changes $MESHPASS policy diff --output markdown -- "$work/base" "$work/head"
run exposure $MESHPASS policy exposure --output markdown --base "$work/base" -- $MANIFESTS
