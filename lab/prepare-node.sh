#!/bin/sh
# Runs after `npm ci`: the Node.js that npm just installed (package `node`) needs libatomic, which a minimal Debian or
# Ubuntu lacks. Installs it where that can be done, else says what to do. It touches nothing where Node.js starts.
node="$(dirname "$0")/../node_modules/.bin/node"
[ -e "$node" ] || exit 0
"$node" --version >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "Node.js needs libatomic1: installing it"
  apt-get update -qq && apt-get install -y -qq libatomic1 && "$node" --version && exit 0
fi
echo "The Node.js of this repository does not start here:" >&2
"$node" --version >&2
echo "Install libatomic (Debian, Ubuntu: apt-get install libatomic1; Fedora: dnf install libatomic), then run this again." >&2
exit 1
