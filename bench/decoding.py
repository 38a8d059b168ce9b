"""Decoding capture files: `tapline analyze` beside the floor of reading them."""
import os
import struct
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
    """Packets of a pcap; read bit by bit, since a child begins with its parent's memory in its own peak."""
    packets = 0
    with open(path, "rb") as capture:
        capture.seek(24)
        while len(head := capture.read(16)) == 16:
            capture.seek(struct.unpack_from("<I", head, 8)[0], os.SEEK_CUR)
            packets += 1
    return packets


def to_events(options, *words):
    """Decodes the mix to a file; gives what that cost, and the file."""
    output = os.path.join(options.work, "events.ndjson")
    with open(output, "wb") as out:
        return cost([os.path.join(options.bin, "tapline"), "analyze", mix(options), "-o", "ndjson", *words], stdout=out), output


def analyze(name, goal, memory_goal, *words):
    def measure(options):
        millions = count_of(mix(options)) / 1e6
        cpu, memory = [], []
        for _ in range(options.runs):
            (seconds, peak, _), output = to_events(options, *words)
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


def two_workers(name):
    """How much sooner two workers end than one, in turn with it."""
    def measure(options):
        runs = [[to_events(options, "--set", f"analyzer.workers={workers}")[0] for workers in (1, 2)] for _ in range(options.runs)]
        return [Figure(f"{name}: time of one / of two", [one[2] / two[2] for one, two in runs], "", ">= 1.8"),
                Figure(f"{name}: CPU of two / of one", [two[0] / one[0] for one, two in runs], "")]
    return Row(name, measure)


def streams(count):
    """What a packet of one of many RTP streams costs, and whether memory depends on how long they last."""
    def measure(options):
        tapline = os.path.join(options.bin, "tapline")
        short = generated(options, "streams.py", f"streams-{count}.pcap", options.packets // 4, count)
        long = generated(options, "streams.py", f"streams-{count}-long.pcap", options.packets, count)
        runs = [(cost([tapline, "analyze", long, "-o", "ndjson"]), cost([tapline, "analyze", short, "-o", "ndjson"])) for _ in range(options.runs)]
        name = f"tapline analyze, {count} RTP streams side by side"
        return [Figure(name, [long[0] / options.packets * 1e6 for long, _ in runs], "CPU us/packet", "<= 1.5"),
                Figure(f"{name}: peak memory", [long[1] for long, _ in runs], "MiB"),
                Figure(f"{name}: peak memory, 4 times as long / once", [long[1] / short[1] for long, short in runs], "", "flat")]
    return Row(f"tapline analyze, {count} RTP streams", measure)


ONLY_DNS = [word for protocol in ("http", "sip", "rtp") for word in ("--set", f"analyzer.protocols.{protocol}.enabled=false")]
ROWS = [
    peer("tcpdump -r -w /dev/null (reading, the floor)", "tcpdump", "-r", "{}", "-w", "/dev/null"),
    analyze("tapline analyze, one worker, DNS, ICMP and flows", "<= 0.6", "<= 100", *ONLY_DNS),
    analyze("tapline analyze, one worker, all decoders and flows", "<= 1.0", "<= 100"),
    two_workers("tapline analyze, two workers, all decoders and flows"),
    streams(2000),
    peer("tshark, protocol hierarchy only", "tshark", "-q", "-z", "io,phs", "-r", "{}"),
]
