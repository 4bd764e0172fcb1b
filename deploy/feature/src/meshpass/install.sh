#!/bin/sh
# Installs Meshpass into the image of a dev container: as root, while the image is built. Starts nothing and enrols no workspace.
# Options come as environment variables (devcontainer-feature.json). `npm run build:feature` writes the release into this file.
set -eu
umask 022

RELEASE='@RELEASE@'
SHA256_X64='@SHA256_X64@'
SHA256_ARM64='@SHA256_ARM64@'
# What the programs in the archives ask for, read from them.
GLIBC_X64='@GLIBC_X64@'
GLIBC_ARM64='@GLIBC_ARM64@'
LIBRARIES='@LIBRARIES@'

FOLDER=/usr/local/lib/meshpass
COMMAND=/usr/local/bin/meshpass
HERE=$(CDPATH='' cd "$(dirname "$0")" && pwd)

fail() {
  echo "meshpass: $*" >&2
  exit 1
}

read_options() {
  broker=${BROKER:-}
  autostart=${AUTOSTART:-true}
  by_name=${BYNAME:-true}
  mirror=${MIRROR:-https://github.com/meshpass/meshpass/releases/download}
  remote_user=${_REMOTE_USER:-root}
  # They are written into a script that the shell reads.
  case $broker in
    '') ;;
    *[!A-Za-z0-9.:/_~-]*) fail "The option broker must be a URL such as https://broker.example.com." ;;
    https://?*) ;;
    *) fail "The option broker must begin with https://." ;;
  esac
  case $autostart in true | false) ;; *) fail "The option autostart must be true or false." ;; esac
  case $by_name in true | false) ;; *) fail "The option byName must be true or false." ;; esac
  case $mirror in http://?* | https://?*) ;; *) fail "The option mirror must be a URL." ;; esac
  case $remote_user in '' | -* | *[!A-Za-z0-9._-]*) fail "The name of the remote user is not supported: $remote_user" ;; esac
  case ${VERSION:-latest} in
    latest | "$RELEASE") ;;
    *) fail "This version of the Feature only installs Meshpass $RELEASE, whose digests it contains. For a different release, set it in devcontainer.json: \"ghcr.io/meshpass/features/meshpass:${VERSION}\"." ;;
  esac
}

read_machine() {
  [ "$(id -u)" = 0 ] || fail "install.sh must run as root, as dev container tools run it."
  case $(uname -m) in
    x86_64) arch=x64 sha256=$SHA256_X64 glibc=$GLIBC_X64 ;;
    aarch64 | arm64) arch=arm64 sha256=$SHA256_ARM64 glibc=$GLIBC_ARM64 ;;
    *) fail "Meshpass is not available for the processor $(uname -m), only for x86_64 and aarch64." ;;
  esac
  [ -n "$sha256" ] || fail "This build of the Feature does not contain a release for $arch."
}

# At least the glibc that Node.js and Envoy were built for. musl is no glibc: the programs would not even start.
check_libc() {
  advice="Use an image with glibc $glibc or later: Debian 11, Ubuntu 20.04, Fedora 32, or newer ones of these."
  found=$(getconf GNU_LIBC_VERSION 2>/dev/null || true)
  case $found in
    'glibc '*) ;;
    *)
      for musl in /lib/ld-musl-*; do
        [ ! -e "$musl" ] || fail "This image uses musl instead of glibc (Alpine Linux, for example), but Envoy requires glibc. $advice"
      done
      fail "Cannot find glibc in this image (getconf GNU_LIBC_VERSION). $advice"
      ;;
  esac
  found=${found#glibc }
  at_least "$found" "$glibc" || fail "This image has glibc $found. $advice"
}

# By the numbers before and after the first dot.
at_least() {
  found_minor=${1#*.}
  needed_minor=${2#*.}
  [ "${1%%.*}" -gt "${2%%.*}" ] || { [ "${1%%.*}" -eq "${2%%.*}" ] && [ "${found_minor%%[!0-9]*}" -ge "$needed_minor" ]; }
}

has() {
  command -v "$1" >/dev/null 2>&1
}

has_roots() {
  for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem; do
    [ ! -s "$file" ] || return 0
  done
  return 1
}

# Calls the package manager only if something is missing.
complete_system() {
  packages=
  if ! installed; then
    has curl || has wget || packages="$packages curl"
    has tar || packages="$packages tar"
    has gzip || packages="$packages gzip"
    case $mirror in https://*) has_roots || packages="$packages ca-certificates" ;; esac
  fi
  for library in $LIBRARIES; do
    ldconfig -p 2>/dev/null | grep -qF "$library " || packages="$packages $(package_of "$library")"
  done
  [ -n "$packages" ] || return 0
  echo "meshpass: installing missing packages:$packages"
  # shellcheck disable=SC2086 # a list of names
  install_packages $packages || fail "Cannot install these missing packages here:$packages. Add them to the image before this Feature."
}

package_of() {
  case $1 in
    libatomic.so.1) if has apt-get; then echo libatomic1; else echo libatomic; fi ;;
    libstdc++.so.6) if has apt-get; then echo libstdc++6; else echo libstdc++; fi ;;
    libgcc_s.so.1) if has apt-get; then echo libgcc-s1; else echo libgcc; fi ;;
    *) fail "This image does not contain $1." ;;
  esac
}

install_packages() {
  if has apt-get; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -qq -y --no-install-recommends "$@" >/dev/null && rm -rf /var/lib/apt/lists/*
  elif has dnf; then
    dnf install -y -q "$@"
  elif has microdnf; then
    microdnf install -y "$@"
  elif has yum; then
    yum install -y -q "$@"
  else
    return 1
  fi
}

installed() {
  [ -x "$FOLDER/meshpass" ] && [ -x "$FOLDER/envoy" ] && [ "$(cat "$FOLDER/sha256" 2>/dev/null)" = "$sha256" ]
}

install_release() {
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # this folder, whatever the variable is later
  trap "rm -rf '$work' '$FOLDER.new'" EXIT
  file=meshpass-linux-$arch.tar.gz
  url=$mirror/v$RELEASE/$file
  echo "meshpass: downloading $url"
  download "$url" "$work/$file" || fail "Cannot download $url. If GitHub is not reachable, set the option mirror."
  actual=$(sha256sum "$work/$file" | cut -d ' ' -f 1)
  [ "$actual" = "$sha256" ] || fail "$url has the SHA-256 $actual, but $sha256 is pinned. Nothing was installed."
  rm -rf "$FOLDER.new"
  mkdir -p "$FOLDER.new"
  tar -xzf "$work/$file" -C "$FOLDER.new" --strip-components=1 --no-same-owner
  "$FOLDER.new/meshpass" --version >/dev/null || fail "Cannot run meshpass in this image. Nothing was installed."
  "$FOLDER.new/envoy" --version >/dev/null || fail "Cannot run Envoy in this image. Nothing was installed."
  echo "$sha256" >"$FOLDER.new/sha256"
  rm -rf "$FOLDER"
  mv "$FOLDER.new" "$FOLDER"
}

download() {
  if has curl; then
    curl --fail --silent --show-error --location --retry 3 --output "$2" "$1"
  else
    wget -q -O "$2" "$1"
  fi
}

# Scripts of this Feature, and options of devcontainer.json. Rewritten each time, because options may have changed.
install_scripts() {
  for script in start command; do
    cp "$HERE/$script.sh" "$FOLDER/$script.new"
    chmod 755 "$FOLDER/$script.new"
    mv "$FOLDER/$script.new" "$FOLDER/$script"
  done
  cp "$HERE/entrypoint.sh" "$FOLDER/entrypoint.sh"
  cat >"$FOLDER/settings" <<SETTINGS
meshpass_broker='$broker'
meshpass_autostart='$autostart'
meshpass_by_name='$by_name'
meshpass_remote_user='$remote_user'
SETTINGS
  chown -R 0:0 "$FOLDER"
  mkdir -p "$(dirname "$COMMAND")"
  ln -sf "$FOLDER/command" "$COMMAND"
}

read_options
read_machine
check_libc
if [ -e "$COMMAND" ] && [ "$(readlink "$COMMAND")" != "$FOLDER/command" ]; then
  fail "$COMMAND already exists and does not belong to this Feature. Remove it from the image."
fi
complete_system
installed || install_release
install_scripts
echo "meshpass: $RELEASE is installed for $remote_user"
