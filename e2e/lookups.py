"""A capture file of numbered DNS lookups: one event each, and one for each flow."""
import struct

START = 1_795_000_000
NAME = "n{:07}.example"


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xffff) + (total >> 16)
    return ~(total + (total >> 16)) & 0xffff


def frame(source, target, source_port, target_port, payload):
    """UDP over IPv4 over Ethernet."""
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0, source, target)
    head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    return b"\x02\0\0\0\0\1\x02\0\0\0\0\2\x08\0" + head + struct.pack(">HHHH", source_port, target_port, 8 + len(payload), 0) + payload


def write(path, count, first=0, per_second=20_000):
    """Lookups `first` to `first + count`, each of a flow of its own (up to ten million), spread over time."""
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xa1b23c4d, 2, 4, 0, 0, 65535, 1))
        for number in range(first, first + count):
            text = NAME.format(number).encode()
            label, domain = text.split(b".")
            question = bytes([len(label)]) + label + bytes([len(domain)]) + domain + b"\0\0\1\0\1"
            client, server = bytes([10, 1, 0, 1 + number // 50_000 % 200]), bytes([10, 2, 0, 53])
            port = 10_000 + number % 50_000
            ask = struct.pack(">HHHHHH", number & 0xffff, 0x0100, 1, 0, 0, 0) + question
            tell = struct.pack(">HHHHHH", number & 0xffff, 0x8180, 1, 1, 0, 0) + question + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, number % 250])
            nanos = (number - first) * (10**9 // per_second)
            for late, data in ((0, frame(client, server, port, 53, ask)), (3_000, frame(server, client, 53, port, tell))):
                time = START * 10**9 + nanos + late
                out.write(struct.pack("<IIII", time // 10**9, time % 10**9, len(data), len(data)) + data)
