"""Decoding capture files: `tapline analyze` beside the floor of reading them."""
import os
import subprocess

from measuring import Figure, Peerless, Row, cost, generated, need

SHARED_MIX = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "shared", "workload", "mix.py")


def mix(options):
    """The application mix: the shared generator where it is there, else the one of this project."""
    path = os.path.join(options.work, "mix.pcap")
    if not os.path.exists(path):
        if os.path.exists(SHARED_MIX):
            subprocess.run(["python3", SHARED_MIX, path, str(options.packets)], check=True, stderr=subprocess.DEVNULL)
        else:
            return generated(options, "lookups.py", "mix.pcap", options.packets)
    return path


def count_of(path):
    import struct
    size, at, packets = os.path.getsize(path), 24, 0
    with open(path, "rb") as capture:
        data = capture.read()
    while at + 16 <= size:
        at += 16 + struct.unpack_from("<I", data, at + 8)[0]
        packets += 1
    return packets


def analyze(name, goal, memory_goal, *words):
    def measure(options):
        path = mix(options)
        millions = count_of(path) / 1e6
        output = os.path.join(options.work, "events.ndjson")
        cpu, memory = [], []
        for _ in range(options.runs):
            with open(output, "wb") as out:
                seconds, peak, _ = cost([os.path.join(options.bin, "tapline"), "analyze", path, "-o", "ndjson", *words], stdout=out)
            cpu.append(seconds / millions)
            memory.append(peak)
        events = sum(1 for _ in open(output, "rb"))
        return [Figure(f"{name} ({events} events)", cpu, "CPU s/M packets", goal), Figure(f"{name}: peak memory", memory, "MiB", memory_goal)]
    return Row(name, measure)


def peer(name, program, *words):
    def measure(options):
        path, program_path = mix(options), need(program)
        millions = count_of(path) / 1e6
        return [Figure(name, [cost([program_path, *[word.format(path) for word in words]])[0] / millions for _ in range(options.runs)], "CPU s/M packets")]
    return Row(name, measure)


ONLY_DNS = [word for protocol in ("http", "sip", "rtp", "rtcp") for word in ("--set", f"analyzer.protocols.{protocol}.enabled=false")]
ROWS = [
    peer("tcpdump -r -w /dev/null (reading, the floor)", "tcpdump", "-r", "{}", "-w", "/dev/null"),
    analyze("tapline analyze, one worker, all decoders and flows", "<= 1.0", "<= 100"),
    peer("tshark, protocol hierarchy only", "tshark", "-q", "-z", "io,phs", "-r", "{}"),
]
