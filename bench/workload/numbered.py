#!/usr/bin/env python3
"""numbered.py OUT.pcap PACKETS [STREAMS]: voice-like packets of 262 bytes on average, each carrying its number.

Nine packets in ten are RTP frames of G.711 (214 bytes, incompressible payload), the tenth is a SIP message of 700 bytes. The number
of a packet stands in the last eight payload bytes of RTP and in the header X-Number of SIP, so that a reader can prove which
packets arrived. The same arguments give the same bytes.
"""
import random
import struct
import sys

FILE_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)
SIP_LENGTH = 700 - 42


def header_checksum(header):
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def head_of(stream, ports, length):
    """Ethernet, IPv4 and UDP headers of a stream's packets with a payload of this length."""
    a, b = bytes((10, 1, stream >> 8, stream & 255)), bytes((10, 2, stream >> 8, stream & 255))
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28 + length, 0, 0x4000, 64, 17, 0, a, b)
    ip = ip[:10] + struct.pack(">H", header_checksum(ip)) + ip[12:]
    return b"\x02\0" + b + b"\x02\0" + a + b"\x08\0" + ip + struct.pack(">HHHH", *ports, 8 + length, 0)


def sip(number, stream):
    text = (f"OPTIONS sip:b{stream}@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 10.1.{stream >> 8}.{stream & 255};branch=z9hG4bK-{number}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:a{stream}@example.org>;tag=t{stream}\r\nTo: <sip:b{stream}@example.org>\r\n"
            f"Call-ID: {number}@bench\r\nCSeq: 1 OPTIONS\r\nX-Number: {number:016d}\r\nContent-Length: 0\r\nX-Pad: ")
    return (text + "-" * (SIP_LENGTH - len(text) - 4) + "\r\n\r\n").encode()


def main():
    path, count = sys.argv[1], int(sys.argv[2])
    streams = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    noise = random.Random(7).randbytes(1 << 18)
    rtp_heads = [head_of(s, (30000 + 2 * (s % 10000),) * 2, 172) for s in range(streams)]
    sip_heads = [head_of(s, (5060, 5060), SIP_LENGTH) for s in range(streams)]
    sent = [0] * streams
    interval = 20_000_000 // streams * 9 // 10
    now, turn = 1_750_000_000 * 10**9, 0
    with open(path, "wb", buffering=1 << 20) as out:
        out.write(FILE_HEADER)
        for number in range(count):
            now += interval
            if number % 10 == 9:
                stream = (number // 10) % streams
                frame = sip_heads[stream] + sip(number, stream)
            else:
                stream = turn % streams
                turn += 1
                n = sent[stream]
                sent[stream] += 1
                at = number * 97 % (len(noise) - 152)
                rtp = struct.pack(">BBHII", 0x80, 8 | (0x80 if n == 0 else 0), n & 0xFFFF, n * 160 & 0xFFFFFFFF, 0x20000 + stream)
                frame = rtp_heads[stream] + rtp + noise[at:at + 152] + struct.pack(">Q", number)
            out.write(struct.pack("<IIII", now // 10**9, now % 10**9, len(frame), len(frame)) + frame)


main()
