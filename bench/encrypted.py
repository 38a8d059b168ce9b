"""The chain with TLS, acknowledged when durable, v2 published: CPU per packet, and the highest rate over a wire without loss, beside tcpdump -w."""
import os
import re
import subprocess
import time

from chain import Collector, Wire
from lab import bounded
from measuring import Figure, Row, cost, generated, need
from search import free_port

# Packets per second that are tried, one after the other, until packets are lost twice; 0 is as fast as the generator can.
RATES = [25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000, 600_000, 0]
SECONDS = 3


class Encrypted(Collector):
    """A collector that speaks nothing but TLS on TCP."""

    def __init__(self, options, name, address="127.0.0.1"):
        self.bin, self.address, self.port = options.bin, address, free_port()
        self.keys = os.path.join(options.work, f"keys-{name}")
        os.makedirs(self.keys)
        self.tapline("keys", "init", "--dir", self.keys)
        tls = self.tapline("keys", "collector", "bench", "--address", address, "--dir", self.keys)
        self.probe_tls = self.tapline("keys", "probe", "bench", "--dir", self.keys)
        super().__init__(options, name, more=tls, listen=f"{address}:{self.port}")

    def tapline(self, *words):
        return bounded([os.path.join(self.bin, "tapline"), *words], check=True)

    def probe(self):
        """The configuration of a probe that may connect."""
        path = os.path.join(self.folder, "probe.toml")
        with open(path, "w", encoding="utf-8") as out:
            out.write(f'[probe]\nname = "bench"\ncollector = ["{self.address}:{self.port}"]\n{self.probe_tls}')
        return [os.path.join(self.bin, "tapline-probe"), "--config", path]


def from_file(options):
    path = generated(options, "numbered.py", "numbered.pcap", options.packets)
    probe, collector_cpu, rate = [], [], []
    for run in range(options.runs):
        collector = Encrypted(options, f"tls-file-{run}")
        before = collector.cpu()
        seconds, _, wall = cost([*collector.probe(), "-r", path])
        time.sleep(0.5)
        probe.append(seconds / options.packets * 1e6)
        collector_cpu.append((collector.cpu() - before) / options.packets * 1e6)
        rate.append(options.packets / wall)
        received = collector.close()
        if not received or received["packets"] != options.packets:
            raise RuntimeError(f"the subscriber received {received} of {options.packets} packets")
        subprocess.run(["rm", "-rf", collector.folder], check=True)
    return [
        Figure("probe, from file, TLS", probe, "CPU us/packet", "<= 1.3"),
        Figure("collector, TLS, ack after durable, v2 to one subscriber", collector_cpu, "CPU us/packet", "<= 0.6"),
        Figure("probe and collector together, from file, TLS", rate, "packets/s", ">= 600,000"),
    ]


def replay(wire, path, rate, packets):
    """Packets per second that the generator came to."""
    speed = ["--pps", str(rate)] if rate else ["--topspeed"]
    begin = time.monotonic()
    said = subprocess.run(["ip", "netns", "exec", wire.lab.namespace, "tcpreplay", "-K", *speed, "--limit", str(packets), "-i", wire.lab.peer_link, path],
                          check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60).stdout
    found = re.search(r"([\d.]+) pps", said)
    return float(found.group(1)) if found else packets / (time.monotonic() - begin)


def tcpdump(options, path, rate, packets):
    """What tcpdump -w lost at a rate, and the rate that it came to."""
    output = os.path.join(options.work, "rate.pcap")
    with Wire() as wire:
        process = subprocess.Popen([need("tcpdump"), "-i", wire.lab.link, "-s", "0", "-Z", "root", "-w", output], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(1)
        reached = replay(wire, path, rate, packets)
        time.sleep(1)
        process.terminate()
        said = process.communicate(timeout=20)[1]
    os.remove(output)
    return int(re.search(r"(\d+) packets dropped by kernel", said).group(1)), reached


def tapline(options, path, rate, packets):
    """The same for probe and collector, everything counted: what the kernel dropped, or anything that is not in the archive's balance."""
    with Wire() as wire:
        collector = Encrypted(options, "tls-rate")
        probe = subprocess.Popen([*collector.probe(), "-i", wire.lab.link], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(1.5)
        reached = replay(wire, path, rate, packets)
        time.sleep(1)
        probe.terminate()
        said = probe.communicate(timeout=60)[1]
        captured, kernel = map(int, re.search(r"(\d+) packets captured, (\d+) dropped by the kernel", said).groups())
        acknowledged = int(re.search(r"(\d+) acknowledged", said).group(1))
        balance = collector.tapline("status", "--balance", "--json", "--connect", f"unix:{collector.folder}/api.sock")
        received = collector.close()
    if '"closes":true' not in balance.replace(" ", ""):
        raise RuntimeError(f"the balance does not close: {balance}")
    subprocess.run(["rm", "-rf", collector.folder, collector.keys], check=True)
    return kernel + captured - acknowledged + max(0, acknowledged - received["packets"]), reached


def highest(options, path, attempt):
    """The highest rate at which nothing was lost."""
    best = 0
    for rate in RATES:
        packets = min(options.packets, rate * SECONDS or options.packets)
        lost, reached = attempt(options, path, rate, packets)
        if lost:
            lost, reached = attempt(options, path, rate, packets)
        if lost:
            break
        best = max(best, reached)
    return best


def rates(options):
    need("tcpreplay")
    path = generated(options, "numbered.py", "numbered.pcap", options.packets)
    ours, theirs, limit = [], [], []
    for _ in range(min(options.runs, 3)):
        theirs.append(highest(options, path, tcpdump))
        ours.append(highest(options, path, tapline))
        with Wire() as wire:
            limit.append(replay(wire, path, 0, options.packets))
    return [
        Figure("tcpdump -w: highest rate over a wire without loss", theirs, "packets/s"),
        Figure("probe, TLS, collector, v2: highest rate without loss", ours, "packets/s", ">= 3 x, or the limit"),
        Figure("the generator's own limit, nobody listening", limit, "packets/s"),
    ]


ROWS = [Row("encrypted from file", from_file), Row("encrypted live rates", rates)]
