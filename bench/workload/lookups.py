#!/usr/bin/env python3
"""lookups.py OUT.pcap PACKETS: DNS lookups and HTTP requests between many clients and a few servers, for decoding benchmarks.

Each conversation has a client port of its own. A DNS one is a question and its answer; an HTTP one is a TCP connection with
handshake, one to four requests and their responses, and its end. The same arguments give the same bytes.
"""
import random
import struct
import sys

FILE_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)


def frame(source, destination, protocol, payload):
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0, source, destination)
    return b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0" + ip + payload


def udp(ports, payload):
    return struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload


def tcp(ports, seq, ack, flags, payload=b""):
    return struct.pack(">HHIIBBHHH", *ports, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 0x50, flags, 64240, 0, 0) + payload


def dns(rng, client, server, port):
    name = b"".join(bytes([len(label)]) + label for label in (b"host%d" % rng.randrange(500), b"example", b"org")) + b"\0"
    head = lambda flags, answers: struct.pack(">HHHHHH", port, flags, 1, answers, 0, 0) + name + b"\0\1\0\1"
    answers = rng.randrange(1, 5)
    records = b"".join(b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", 300, 4) + rng.randbytes(4) for _ in range(answers))
    yield frame(client, server, 17, udp((port, 53), head(0x0100, 0)))
    yield frame(server, client, 17, udp((53, port), head(0x8180, answers) + records))


def http(rng, client, server, port):
    out = lambda seq, ack, flags, data=b"": frame(client, server, 6, tcp((port, 80), seq, ack, flags, data))
    back = lambda seq, ack, flags, data=b"": frame(server, client, 6, tcp((80, port), seq, ack, flags, data))
    a, b = rng.randrange(2**32), rng.randrange(2**32)
    yield out(a, 0, 2)
    yield back(b, a + 1, 18)
    a, b = a + 1, b + 1
    yield out(a, b, 16)
    for _ in range(rng.randrange(1, 5)):
        request = b"GET /articles/%d?page=%d HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: bench\r\nAccept: text/html\r\n\r\n" % (
            rng.randrange(10**6), rng.randrange(9))
        yield out(a, b, 24, request)
        a += len(request)
        body = b"x" * rng.randrange(200, 4000)
        response = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        for at in range(0, len(response), 1400):
            yield back(b, a, 24, response[at:at + 1400])
            b += len(response[at:at + 1400])
        yield out(a, b, 16)
    yield out(a, b, 17)
    yield back(b, a + 1, 17)
    yield out(a + 1, b + 1, 16)


def main():
    path, count = sys.argv[1], int(sys.argv[2])
    rng = random.Random(11)
    live, started, now, written = [], 0, 1_750_000_000 * 10**6, 0
    with open(path, "wb", buffering=1 << 20) as out:
        out.write(FILE_HEADER)
        while written < count:
            while len(live) < 64:
                started += 1
                kind = dns if rng.random() < 0.6 else http
                live.append(kind(rng, b"\x0a" + struct.pack(">I", started)[1:], bytes((192, 0, 2, started % 16)), 1024 + started % 60000))
            at = rng.randrange(len(live))
            packet = next(live[at], None)
            if packet is None:
                live[at] = live[-1]
                live.pop()
                continue
            now += rng.randrange(5, 60)
            out.write(struct.pack("<IIII", now // 10**6, now % 10**6, len(packet), len(packet)) + packet)
            written += 1


main()
