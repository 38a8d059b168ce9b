"""An independent reader of Tapline's archive: zstd(1) and a walk over pcapng blocks in Python. Shares no code with Tapline."""
import collections
import os
import re
import struct
import subprocess

ENHANCED_PACKET = 6
NUMBER = re.compile(rb"X-Number: (\d{16})")


def segments(archive):
    """All segment files below an archive, those still being written included."""
    found = []
    for folder, _, names in sorted(os.walk(archive)):
        found += [os.path.join(folder, name) for name in sorted(names) if ".pcapng" in name and ".idx" not in name]
    return found


def uncompressed(path):
    """The bytes of a segment; of one that is being written, all whole frames."""
    if ".zst" not in path:
        with open(path, "rb") as plain:
            return plain.read()
    done = subprocess.run(["zstd", "-d", "-c", "-q", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode and not path.endswith(".part"):
        raise AssertionError(f"{path}: zstd says {done.stderr.decode().strip()}")
    return done.stdout


def packets(data):
    """The captured bytes of every packet in a run of pcapng blocks."""
    at = 0
    while at + 12 <= len(data):
        kind, length = struct.unpack_from("<II", data, at)
        if length < 12 or at + length > len(data):
            return
        if kind == ENHANCED_PACKET:
            captured = struct.unpack_from("<I", data, at + 20)[0]
            yield data[at + 28:at + 28 + captured]
        at += length


def number_of(frame):
    """The number that bench/workload/numbered.py gave a packet."""
    if len(frame) == 214:
        return struct.unpack(">Q", frame[-8:])[0]
    found = NUMBER.search(frame)
    return int(found.group(1)) if found else None


def numbers(archive):
    """How often each numbered packet is in the archive."""
    counts = collections.Counter()
    for path in segments(archive):
        for frame in packets(uncompressed(path)):
            number = number_of(frame)
            if number is not None:
                counts[number] += 1
    return counts
