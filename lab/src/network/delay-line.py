#!/usr/bin/env python3
"""A line with a delay: delay-line.py LINK TAP ONE_WAY_MS LOSS_PERCENT

Passes Ethernet frames between a link and a TAP device of the same network namespace, each way ONE_WAY_MS later; of every
hundred frames each way LOSS_PERCENT are lost at random. Both devices are there already: see delay-line.ts, which runs it.
It is in Python because a TAP device needs an ioctl, which Node.js has not; and it exists because kernels may lack netem.

Without loss the frames are as large as the kernel's segmentation offload makes them: each carries its header for that
(struct virtio_net_hdr), so that a whole 64 KiB costs one step here. With loss the kernel must cut them first, or one loss
would be one of forty segments.
"""
import collections
import fcntl
import os
import random
import select
import socket
import struct
import sys
import time

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 1, 2, 4
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
ETH_P_ALL = 3

FRAME = 10 + 18 + 65536  # struct virtio_net_hdr, Ethernet with a VLAN tag, the largest packet
ETHER_TYPE, ARP = slice(22, 24), b"\x08\x06"
AT_ONCE = 64
QUEUE = 65536  # frames each way; what is more is lost, as on a real line
BUFFER = 1 << 26


def open_tap(name, offload):
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    fcntl.ioctl(tap, TUNSETOFFLOAD, TUN_F_CSUM | (TUN_F_TSO4 | TUN_F_TSO6 if offload else 0))
    return tap


def open_link(name):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    link.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    link.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    link.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    link.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER)
    link.setblocking(False)
    link.bind((name, ETH_P_ALL))
    return link


def relay(link, tap, delay, loss):
    ways = [Way(link.recv, lambda frame: os.write(tap, frame)), Way(lambda size: os.read(tap, size), link.send)]
    sources = {link: ways[0], tap: ways[1]}
    while True:
        due = min((way.frames[0][0] for way in ways if way.frames), default=None)
        wait = None if due is None else max(0, due - time.monotonic())
        for source in select.select(list(sources), [], [], wait)[0]:  # epoll would round up to milliseconds
            sources[source].take(delay, loss)
        now = time.monotonic()
        for way in ways:
            while way.frames and way.frames[0][0] <= now:
                way.put(way.frames.popleft()[1])


class Way:
    """One of the two directions."""

    def __init__(self, read, write):
        self.read, self.write, self.frames = read, write, collections.deque()

    def take(self, delay, loss):
        arrival = time.monotonic() + delay
        for _ in range(AT_ONCE):
            try:
                frame = self.read(FRAME)
            except BlockingIOError:
                return
            if frame[ETHER_TYPE] == ARP:
                self.put(frame)  # hosts on the internet have a router near them
            elif len(self.frames) < QUEUE and not (loss and random.random() < loss):
                self.frames.append((arrival, frame))

    def put(self, frame):
        try:
            self.write(frame)
        except OSError:
            pass  # lost: a full buffer, or a device that is going down


if __name__ == "__main__":
    link_name, tap_name, one_way, percent = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
    try:
        # As punctual as a line is, whatever else the machine does.
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        os.nice(-15)
    devices = open_link(link_name), open_tap(tap_name, offload=percent == 0)
    print("delay line up", flush=True)
    relay(*devices, one_way / 1000, percent / 100)
