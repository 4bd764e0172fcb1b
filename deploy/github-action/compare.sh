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

# Copies manifests, with links to files as files, as the commands read them. Any other link leads to a directory in the copy, which
# the commands report as not read. Paths outside the working directory keep their absolute path.
copy() {
  local paths=() path full here link skip=('(' -name .git -o -name node_modules ')' -prune -o)
  here="$(pwd -P)"
  for path in "${@:2}"; do
    full="$(realpath --no-symlinks --canonicalize-missing -- "$path")"
    if [ -f "$full" ] && [[ ! "$full" =~ \.(ya?ml|json)$ ]]; then
      not_compared "$path is not compared, because its name does not end in .yaml, .yml or .json."
    fi
    case "$full" in "$here") paths+=(.) ;; "$here"/*) paths+=("./${full#"$here"/}") ;; *) paths+=("$full") ;; esac
  done
  find -H "${paths[@]}" "${skip[@]}" -xtype f -print0 |
    xargs --null --no-run-if-empty cp --dereference --parents --target-directory "$1" --
  find -H "${paths[@]}" "${skip[@]}" -type l ! -xtype f -print0 | while IFS= read -r -d '' link; do
    mkdir -p "$1/$(dirname "$link")"
    ln -s / "$1/$link"
  done
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

# The whole tree, because a pattern may match other files there.
write_base() { mkdir "$work/tree" && node "$GITHUB_ACTION_PATH/write-tree.mjs" "$1" "$work/tree"; }

# Prints files whose content in the working directory is not that of the commit.
reencoded() {
  git ls-files -- $MANIFESTS | git check-attr --stdin working-tree-encoding | grep -v ': unspecified$' | head -n 1
}

# Patterns of directories and files that the base commit does not have match nothing there.
copy_base() {
  local path parent existing=()
  pushd "$work/tree" >/dev/null
  shopt -s nullglob
  for path in $MANIFESTS; do
    parent="$path"
    while [[ "$parent" == */* ]]; do
      parent="${parent%/*}"
      if [ -L "$parent" ] && [ ! -e "$parent" ]; then not_compared "$parent is a Git submodule or a link in the base commit, so $path is not compared."; fi
    done
    if [ -e "$path" ] || [ -L "$path" ]; then existing+=("$path"); fi
  done
  shopt -u nullglob
  if [ ${#existing[@]} -gt 0 ]; then copy "$work/base" "${existing[@]}"; fi
  popd >/dev/null
}

read_base_from_git() {
  local other base encoded submodules
  [ -z "$(git rev-parse --show-prefix 2>&1)" ] ||
    not_compared "The working directory is not the root of a Git checkout."
  other="$(git ls-files --others -- $MANIFESTS ':(exclude,glob)**/node_modules/**' 2>/dev/null | grep -E '\.(ya?ml|json)$' | head -n 1)" || true
  if [ -n "$other" ]; then not_compared "$other is not part of the commit, so its state before the change is unknown. Pass that state as input base."; fi
  git ls-files --error-unmatch -- $MANIFESTS >/dev/null 2>"$work/unmatched.txt" ||
    not_compared "These manifests are not part of the repository, so their state before the change is unknown. Pass that state as input base. Git: $(head -n 1 "$work/unmatched.txt")"
  submodules="$(git ls-files --stage -- $MANIFESTS | sed -n 's/^160000 [^\t]*\t//p')"
  if [ -n "$submodules" ]; then not_compared "Manifests in Git submodules are not compared: $submodules"; fi
  encoded="$(reencoded)" || true
  if [ -n "$encoded" ]; then not_compared "Manifests with a working-tree-encoding are not compared: $encoded"; fi
  if git ls-files -- $MANIFESTS | grep -qE '(^"?|/)node_modules/.*\.(ya?ml|json)"?$'; then not_compared "Manifests in node_modules are not compared."; fi
  base="$(base_commit)"
  authenticate
  fetch_base "$base" ||
    not_compared "The base commit $base is not in this checkout and could not be fetched: $(head -n 1 "$work/fetch.txt") Check out with fetch-depth: 0."
  # The base may have moved on since the branch began. A shallow checkout does not show it.
  base="$(git merge-base "$base" HEAD || echo "$base")"
  write_base "$base" ||
    not_compared "The base commit $base could not be read."
  echo "$base" >"$folder/base.txt"
  copy_base
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
