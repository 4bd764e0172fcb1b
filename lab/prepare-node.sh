#!/bin/sh
# Runs after `npm ci`. The lockfile does not cover the Node.js that package `node` downloads when it is installed, so its digest is
# compared here with node.sha256. It needs libatomic, which a minimal Debian or Ubuntu lacks: that is installed where it can be.
here="$(dirname "$0")"
node="$here/../node_modules/node/bin/node"
[ -e "$node" ] || exit 0

case "$(uname -s)-$(uname -m)" in
  Linux-x86_64) platform=linux-x64 ;;
  Linux-aarch64) platform=linux-arm64 ;;
  *) platform=other ;;
esac
expected="$(sed -n "s/^\([0-9a-f]*\)  $platform\$/\1/p" "$here/node.sha256")"
if [ -z "$expected" ]; then
  echo "No digest is known for the Node.js of this platform: it is not checked (lab/node.sha256)." >&2
elif [ "$(sha256sum "$node" | cut -d ' ' -f 1)" != "$expected" ]; then
  echo "The Node.js that npm installed is not the one that lab/node.sha256 names; it was removed." >&2
  rm -f "$node"
  exit 1
fi

"$node" --version >/dev/null 2>&1 && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "Node.js needs libatomic1: installing it"
  apt-get update -qq && apt-get install -y -qq libatomic1 && "$node" --version && exit 0
fi
echo "The Node.js of this repository does not start here:" >&2
"$node" --version >&2
echo "Install libatomic (Debian, Ubuntu: apt-get install libatomic1; Fedora: dnf install libatomic), then run this again." >&2
exit 1
