#!/usr/bin/env python3
"""Stands in for istio-cni towards ztunnel: in-pod.py SOCKET NETNS=NAMESPACE/POD/SERVICEACCOUNT...

Each ztunnel that connects gets the network namespaces of the Pods, in which it then opens its sockets (ztunnel's ZDS, version 1,
protobuf messages that are written by hand here). It is in Python because it needs a SEQPACKET socket and SCM_RIGHTS, which Node.js has not.
"""
import array
import os
import socket
import sys

ADD, SNAPSHOT_SENT = 1, 3  # fields of WorkloadRequest
LENGTH_DELIMITED = 2


def field(number, data):
    size, out = len(data), bytearray([number << 3 | LENGTH_DELIMITED])
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    out.append(size)
    return bytes(out) + data


def add(namespace, name, account):
    info = field(1, name.encode()) + field(2, namespace.encode()) + field(3, account.encode())
    return field(ADD, field(1, f"{namespace}-{name}".encode()) + field(2, info))


def serve(ztunnel, pods):
    ztunnel.recv(1024)  # its version
    for netns, who in pods:
        fd = os.open(f"/run/netns/{netns}", os.O_RDONLY)
        ztunnel.sendmsg([add(*who.split("/"))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        os.close(fd)
        print(f"{who}: {ztunnel.recv(1024)}", flush=True)
    ztunnel.send(field(SNAPSHOT_SENT, b""))
    while ztunnel.recv(1024):
        pass


def main(path, *pods):
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen()
    print("listens", flush=True)
    while True:
        ztunnel, _ = listener.accept()
        try:
            serve(ztunnel, [pod.split("=", 1) for pod in pods])
        except OSError as error:
            print(f"ztunnel went: {error}", flush=True)
        ztunnel.close()


main(*sys.argv[1:])
