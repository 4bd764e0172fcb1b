#!/bin/sh
# The first process of a node: makes the node's file systems out of the machine's, and stays, so that all that runs in the
# node ends with it. It runs in namespaces of its own (network, processes, mounts, host name).
# $1: state directory of the cluster; $2: name of the node
set -e
dir=$1
hostname "$2"
mount --make-rshared /

# What containers leave in /run (namespaces, sockets, locks) and /var/lib ends with the node. The cluster's own folder stays in sight.
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/cluster /run/lock
mount --bind "$dir" /run/cluster
mount -t tmpfs -o mode=755 tmpfs /var/lib
mkdir -p "$dir" /var/lib/cni /var/lib/kubelet
mount --bind /run/cluster "$dir"
umount /run/cluster
mkdir -p "$dir/node/log"
mount --bind "$dir/node/log" /var/log
mount --bind "$dir/node/resolv.conf" /etc/resolv.conf

# The kubelet sets these for the whole machine, and refuses to start where it cannot. It gets files that hold what it wants.
set_aside() {
  [ -e "/proc/sys/$1" ] || return 0
  file="/run/sysctl-$(echo "$1" | tr / -)"
  echo "$2" >"$file"
  mount --bind "$file" "/proc/sys/$1"
}
set_aside vm/overcommit_memory 1
set_aside vm/panic_on_oom 0
set_aside kernel/panic 10
set_aside kernel/panic_on_oops 1
set_aside kernel/keys/root_maxkeys 1000000
set_aside kernel/keys/root_maxbytes 25000000

echo 1 >/proc/sys/net/ipv4/ip_forward
echo "the node has its file systems"
# Orphans of the node become children of this shell: waiting collects them.
while :; do
  sleep 3600 &
  wait
done
