#!/usr/bin/env python3
"""A v2 subscriber in pyzmq: counts packets and how old each is when it arrives. Prints `ready`, and at SIGTERM its counts as JSON."""
import json
import signal
import struct
import sys
import time

import zmq
import zstandard


def ages(frame, now, out):
    """Appends the age of each packet of a batch in ms. Walks the enhanced packet blocks."""
    data = zstandard.ZstdDecompressor().decompress(frame)
    at = 0
    while at + 12 <= len(data):
        kind, length = struct.unpack_from("<II", data, at)
        if kind == 6:
            high, low = struct.unpack_from("<II", data, at + 12)
            out.append((now - (high << 32 | low)) / 1e6)
        at += length


def main():
    socket = zmq.Context().socket(zmq.SUB)
    socket.setsockopt(zmq.RCVHWM, 100_000)
    socket.setsockopt(zmq.SUBSCRIBE, b"data.v2.")
    socket.setsockopt(zmq.RCVTIMEO, 100)
    socket.connect(sys.argv[1])
    packets, messages, latencies, done = 0, 0, [], []
    signal.signal(signal.SIGTERM, lambda *_: done.append(1))
    time.sleep(0.3)
    print("ready", flush=True)
    while not done:
        try:
            _, meta, frame = socket.recv_multipart()
        except zmq.Again:
            continue
        now = time.time_ns()
        meta = json.loads(meta)
        packets += meta["packets"]
        messages += 1
        if now - meta["time_max"] < 10**11 and len(latencies) < 500_000:
            ages(frame, now, latencies)
    latencies.sort()
    at = lambda share: latencies[int(len(latencies) * share)] if latencies else 0.0
    print(json.dumps({"packets": packets, "messages": messages, "latency_p50_ms": at(0.5), "latency_p99_ms": at(0.99)}), flush=True)


main()
