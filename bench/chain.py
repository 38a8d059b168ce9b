"""The chain from a file or a wire through probe and collector: CPU per packet of each, latency, sizes."""
import json
import os
import struct
import subprocess
import sys
import time

from lab import Lab, end, wait_for
from measuring import Figure, Peerless, Row, cost, cpu_of, generated, need, peak_memory_of
from store import example


class Collector:
    """A collector of its own with a Unix socket for the uplink and one v2 subscriber that only counts."""

    def __init__(self, options, name, subscriber=True, listen=None, more=""):
        self.folder = os.path.join(options.work, name)
        os.makedirs(self.folder)
        os.chmod(self.folder, 0o777)
        self.uplink = f"{self.folder}/uplink.sock"
        self.feed = f"ipc://{self.folder}/feed"
        listen = listen or f"unix:{self.uplink}"
        config = os.path.join(self.folder, "tapline.toml")
        with open(config, "w", encoding="utf-8") as out:
            out.write(f'[collector]\ndata = "{self.folder}"\nlisten = ["{listen}"]\n'
                      f'api = ["unix:{self.folder}/api.sock"]\nfeed = ["{self.feed}"]\n{more}')
        self.log = open(f"{self.folder}/log", "wb")
        self.process = subprocess.Popen([os.path.join(options.bin, "tapline"), "collector", "--config", config], stdout=self.log, stderr=self.log)
        wait_for("the collector", lambda: os.path.exists(f"{self.folder}/api.sock") or self.process.poll() is not None)
        self.subscriber = None
        if subscriber:
            self.subscriber = subprocess.Popen([sys.executable, os.path.join(os.path.dirname(__file__), "subscriber.py"), self.feed],
                                               stdout=subprocess.PIPE)
            self.subscriber.stdout.readline()

    def cpu(self):
        return cpu_of(self.process.pid)

    def files(self, suffix):
        found = [os.path.join(folder, name) for folder, _, names in os.walk(os.path.join(self.folder, "archive")) for name in names]
        return sum(os.path.getsize(path) for path in found if path.endswith(suffix))

    def close(self):
        received = None
        if self.subscriber:
            time.sleep(0.3)
            self.subscriber.terminate()
            last = self.subscriber.communicate(timeout=10)[0].strip().splitlines()
            received = json.loads(last[-1]) if last else None
        end(self.process)
        self.log.close()
        return received


def from_file(options):
    path = generated(options, "numbered.py", "numbered.pcap", options.packets)
    probe, collector_cpu, rate, memory, ratio = [], [], [], [], []
    for run in range(options.runs):
        collector = Collector(options, f"file-{run}")
        before = collector.cpu()
        seconds, _, wall = cost([os.path.join(options.bin, "tapline-probe"), "-r", path, "--collector", f"unix:{collector.uplink}", "--name", "bench"])
        time.sleep(0.5)
        probe.append(seconds / options.packets * 1e6)
        collector_cpu.append((collector.cpu() - before) / options.packets * 1e6)
        rate.append(options.packets / wall)
        memory.append(peak_memory_of(collector.process.pid))
        received = collector.close()
        if not received or received["packets"] != options.packets:
            raise RuntimeError(f"the subscriber received {received} of {options.packets} packets")
        ratio.append(100 * collector.files(".idx") / max(1, collector.files(".zst")))
        subprocess.run(["rm", "-rf", collector.folder], check=True)
    return [
        Figure("probe, from file", probe, "CPU us/packet", "<= 1.5"),
        Figure("collector: archive and publish v2 to one subscriber", collector_cpu, "CPU us/packet", "<= 0.9"),
        Figure("probe and collector together, from file", rate, "packets/s", ">= 600,000"),
        Figure("collector: peak memory", memory, "MiB", ""),
        Figure("index, of the compressed segment", ratio, "%", "<= 2"),
    ]


def many(options):
    """500 probes of 100 packets a second each, into one collector."""
    generator = example(options, "probes", "tapline-uplink")
    count, rate, seconds = 500, 100, 20
    cores, memory = [], []
    for run in range(min(options.runs, 3)):
        collector = Collector(options, f"many-{run}")
        before, begin = collector.cpu(), time.monotonic()
        done = subprocess.run([generator, collector.uplink, str(count), str(rate), str(seconds)], check=True, stdout=subprocess.PIPE, text=True, timeout=120)
        cores.append((collector.cpu() - before) / (time.monotonic() - begin))
        memory.append(peak_memory_of(collector.process.pid))
        sent = int(done.stdout.split()[1])
        received = collector.close()
        if not received or received["packets"] != sent or sent < count * rate * seconds * 0.9:
            raise RuntimeError(f"the subscriber received {received} of {sent} packets")
        subprocess.run(["rm", "-rf", collector.folder], check=True)
    return [Figure("collector: 500 probes of 100 packets/s each, v2 published", cores, "cores", "<= 1"),
            Figure("collector: peak memory with 500 probes", memory, "MiB", "<= 200")]


def writer(name, program, *words):
    """A peer that captures the same live traffic to a file."""
    def measure(options):
        path, command = generated(options, "numbered.py", "live.pcap", min(options.packets, 200_000)), need(program)
        need("tcpreplay")
        packets = min(options.packets, 200_000)
        values = []
        for run in range(options.runs):
            with Wire() as wire:
                output = os.path.join(options.work, f"{program}-{run}.pcap")
                process = subprocess.Popen([command, "-i", wire.lab.link, *words, "-w", output], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(1.0)
                before = cpu_of(process.pid)
                wire.replay(path)
                values.append((cpu_of(process.pid) - before) / packets * 1e6)
                end(process)
                os.unlink(output)
        return [Figure(name, values, "CPU us/packet")]
    return Row(name, measure)


class Wire:
    """A veth pair that packets are replayed onto at a bounded rate."""

    def __init__(self, rate=20_000):
        self.lab, self.rate = Lab(), rate

    def __enter__(self):
        self.lab.up(servers=False)
        return self

    def __exit__(self, *_):
        self.lab.down()

    def replay(self, path, seconds=120):
        subprocess.run(["ip", "netns", "exec", self.lab.namespace, "tcpreplay", "-q", "-K", "--pps", str(self.rate), "-i", self.lab.peer_link, path],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=seconds)
        time.sleep(0.5)


def live(options):
    packets = min(options.packets, 200_000)
    path = generated(options, "numbered.py", "live.pcap", packets)
    need("tcpreplay")
    probe_cpu, collector_cpu, lost, p50, p99 = [], [], [], [], []
    for run in range(options.runs):
        collector = Collector(options, f"live-{run}")
        with Wire() as wire:
            probe = subprocess.Popen([os.path.join(options.bin, "tapline-probe"), "-i", wire.lab.link, "--collector", f"unix:{collector.uplink}", "--name", "bench"],
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(1.0)
            before = cpu_of(probe.pid), collector.cpu()
            wire.replay(path)
            probe_cpu.append((cpu_of(probe.pid) - before[0]) / packets * 1e6)
            collector_cpu.append((collector.cpu() - before[1]) / packets * 1e6)
            end(probe)
        received = collector.close()
        lost.append(max(0, packets - received["packets"]))
        p50.append(received["latency_p50_ms"])
        p99.append(received["latency_p99_ms"])
        subprocess.run(["rm", "-rf", collector.folder], check=True)
    return [
        Figure("probe, live at 20,000 packets/s", probe_cpu, "CPU us/packet", "<= 1.5"),
        Figure("collector, live at 20,000 packets/s", collector_cpu, "CPU us/packet", "<= 0.9"),
        Figure("packets lost, live at 20,000 packets/s", lost, "packets", "0"),
        Figure("wire to v2 subscriber, p50", p50, "ms", "<= 60"),
        Figure("wire to v2 subscriber, p99", p99, "ms", "<= 150"),
    ]


ROWS = [
    Row("500 probes", many),
    Row("chain from file", from_file),
    Row("chain live", live),
    writer("tcpdump -w, live at 20,000 packets/s", "tcpdump", "-s", "0"),
    writer("dumpcap, live at 20,000 packets/s", "dumpcap", "-q"),
]
