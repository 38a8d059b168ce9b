#!/usr/bin/env python3
"""Writes a capture of RTP streams side by side: streams.py OUT.pcap PACKETS STREAMS

G.711 A-law, 20 ms per packet (RFC 3550, RFC 3551), each stream with its own ports and SSRC; every 50th packet of every stream is missing.
"""
import struct
import sys


def main():
    path, packets, streams = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    payload = bytes(range(160))
    with open(path, "wb", buffering=1 << 20) as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        written = turn = 0
        while written < packets:
            for stream in range(streams):
                if turn % 50 == 49:
                    continue
                time = 1_700_000_000_000_000 + turn * 20_000 + stream * 20_000 // streams
                rtp = struct.pack(">BBHII", 0x80, 8, turn & 0xFFFF, turn * 160 & 0xFFFFFFFF, 0x10000 + stream) + payload
                udp = struct.pack(">HHHH", 10_000 + 2 * (stream % 20_000), 20_000 + 2 * (stream % 20_000), 8 + len(rtp), 0) + rtp
                host = stream // 20_000
                ip = struct.pack(">BBHHHBBHBBBBBBBB", 0x45, 0, 20 + len(udp), turn & 0xFFFF, 0x4000, 64, 17, 0, 10, 1, 0, host, 10, 2, 0, host) + udp
                frame = b"\2\0\0\0\0\2\2\0\0\0\0\1\x08\0" + ip
                out.write(struct.pack("<IIII", time // 1_000_000, time % 1_000_000, len(frame), len(frame)) + frame)
                written += 1
                if written == packets:
                    break
            turn += 1


main()
