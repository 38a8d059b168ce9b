"""Strangers at the feed: the examples of the documentation, run against what is really published."""
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import zmq

from lab import Lab, Programs, bounded, end, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
BINARIES = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "..", "target")), "release")
FORMATS = os.path.join(HERE, "..", "docs", "formats")
PINGS = 3


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@unittest.skipUnless(os.geteuid() == 0, "needs root: it makes a network namespace and captures")
class Subscribers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        os.chmod(folder.name, 0o755)
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.lab = Lab()
        self.addCleanup(self.lab.down)
        self.lab.up(servers=False)
        self.programs = Programs(os.path.abspath(BINARIES), self.folder)
        self.addCleanup(self.programs.kill)
        self.v1 = f"tcp://127.0.0.1:{free_port()}"
        self.programs.start_up("-i", self.lab.link, "-f", "icmp", "--name", "gw1", "--set", f'collector.feed_v1=["{self.v1}"]')
        self.v2 = f"ipc://{self.folder}/run/feed"

    def start(self, script, endpoint):
        """Starts a subscriber; gives a function that says what it has printed."""
        path = os.path.join(self.folder, f"{os.path.basename(script)}.out")
        with open(path, "wb") as out:
            process = subprocess.Popen([sys.executable, "-u", script, endpoint], stdout=out, stderr=out, start_new_session=True)
        self.addCleanup(end, process)

        def printed():
            with open(path, encoding="utf-8") as text:
                return text.read()
        return printed

    def api(self, path, *words):
        return bounded(["curl", "-sS", "--fail-with-body", "--unix-socket", os.path.join(self.folder, "run", "collector.sock"), *words,
                        f"http://localhost{path}"], check=True)

    def subscribed(self, name, wanted):
        found = re.search(rf"^{name} (\d+)$", self.api("/metrics"), re.MULTILINE)
        return found and int(found.group(1)) >= wanted

    def test_the_examples_print_packets_and_events(self):
        v2 = self.start(os.path.join(FORMATS, "feed_v2_subscriber.py"), self.v2)
        v1 = self.start(os.path.join(FORMATS, "feed_v1_subscriber.py"), self.v1)
        # The analyzer subscribes to data.v2. too.
        wait_for("the v2 subscriber", lambda: self.subscribed("tapline_feed_subscriptions", 2))
        wait_for("the v1 subscriber", lambda: self.subscribed("tapline_feed_v1_subscriptions", 2))
        bounded(["ping", "-q", "-c", str(PINGS), "-i", "0.2", "-W", "2", self.lab.peer], check=True)
        wait_for("the packets in the archive", lambda: int(self.programs.tapline("grab", "icmp", "--count").split()[0]) == 2 * PINGS)
        self.api("/api/v1/rotate", "-X", "POST")
        wait_for("the end of the segment in v2", lambda: "segment_closed gw1" in v2())
        wait_for("the end of the segment in v1", lambda: "event.v1.closingtracefile.gw1" in v1())
        counted = re.findall(r"^gw1 batch \d+: (\d+) packets, \d+ bytes$", v2(), re.MULTILINE)
        self.assertEqual(sum(map(int, counted)), 2 * PINGS, v2())
        records = re.findall(r"^data\.v1\.gw1 packet of (\d+) bytes: [0-9a-f]{64}$", v1(), re.MULTILINE)
        self.assertEqual(records, ["98"] * 2 * PINGS, v1())
        closed = re.search(r"^event\.v1\.closingtracefile\.gw1 (/.*)$", v1(), re.MULTILINE).group(1)
        self.assertEqual(bounded(["sh", "-c", 'zstdcat "$1" | tcpdump -n -r - icmp', "-", closed]).count("ICMP echo"), 2 * PINGS)
        self.assertEqual(self.programs.end_up(), [])
        wait_for("the end of the probe in v2", lambda: "disconnect gw1" in v2())
        wait_for("the end of the probe in v1", lambda: "event.v1.disconnect.gw1" in v1())

    def test_packets_are_found_in_a_frame_as_described(self):
        with open(os.path.join(FORMATS, "feed.md"), encoding="utf-8") as text:
            code = re.search(r"```python\n(.*?)```", text.read(), re.DOTALL).group(1)
        names = {}
        exec(code, names)
        context = zmq.Context()
        self.addCleanup(context.destroy, 0)
        feed = context.socket(zmq.SUB)
        self.addCleanup(feed.close, 0)
        feed.setsockopt(zmq.RCVTIMEO, 10_000)
        feed.subscribe("data.v2.gw1/")
        feed.subscribe("data.v2.gw")  # Brings gw1 too, and nothing twice.
        feed.connect(self.v2)
        wait_for("the subscription", lambda: self.subscribed("tapline_feed_subscriptions", 3))
        before = time.time_ns()
        bounded(["ping", "-q", "-c", str(PINGS), "-i", "0.2", "-W", "2", self.lab.peer], check=True)
        found = []
        while len(found) < 2 * PINGS:
            topic, about, frame = feed.recv_multipart()
            about = json.loads(about)
            self.assertEqual((topic, about["v"], about["kind"], about["source"]), (b"data.v2.gw1/", 1, "batch", "gw1"))
            here = list(names["packets"](about, frame))
            self.assertEqual((len(here), about["first_packet"]), (about["packets"], len(found)))
            found += here
            # The same entry from the archive.
            where = f"/api/v1/batches?source=gw1&epoch={about['epoch']}&from={about['seq']}&to={about['seq']}"
            self.assertTrue(wait_for("the entry in the archive", lambda: self.api(where, "-o", os.path.join(self.folder, "entry")) == ""
                                     and os.path.getsize(os.path.join(self.folder, "entry"))))
            with open(os.path.join(self.folder, "entry"), "rb") as entry:
                entry = entry.read()
            lengths = [int.from_bytes(entry[at:at + 4], "little") for at in (0, 4)]
            self.assertEqual(len(entry), 8 + sum(lengths))
            self.assertEqual((json.loads(entry[8:8 + lengths[0]]), entry[8 + lengths[0]:]), (about, frame))
        for nanos, interface, length, data in found:
            self.assertTrue(before < nanos < time.time_ns())
            self.assertEqual((interface, length, len(data), data[12:14].hex(), data[23]), (self.lab.link, 98, 98, "0800", 1))


@unittest.skipUnless(os.geteuid() == 0, "needs root: the programs give it up")
class Encrypted(unittest.TestCase):
    """The feed with CURVE: Tapline's analyzer and libzmq's Python binding hear it if they are on the list, nobody else does."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        os.chmod(folder.name, 0o755)
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.keys = os.path.join(self.folder, "keys")
        self.data = os.path.join(self.folder, "data")
        self.port = free_port()
        self.processes = []
        self.addCleanup(lambda: [end(process) for process in reversed(self.processes)])

    def start(self, name, *command):
        with open(os.path.join(self.folder, f"{name}.log"), "wb") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
        return self.processes[-1]

    def tapline(self, *words):
        return bounded([os.path.join(BINARIES, "tapline"), *words], 60, check=True)

    def key_lines(self, name):
        with open(os.path.join(self.keys, f"{name}.keys"), encoding="utf-8") as lines:
            return dict(line.split() for line in lines)

    def subscribe(self, name):
        context = zmq.Context()
        self.addCleanup(context.destroy, 0)
        subscriber = context.socket(zmq.SUB)
        if name:
            keys = self.key_lines(f"subscriber-{name}")
            subscriber.curve_publickey, subscriber.curve_secretkey = keys["public"].encode(), keys["secret"].encode()
            subscriber.curve_serverkey = self.key_lines("feed")["public"].encode()
        subscriber.subscribe(b"data.v2.")
        subscriber.connect(f"tcp://127.0.0.1:{self.port}")
        return subscriber

    def test_only_who_is_on_the_list_hears_it(self):
        collector = self.tapline("keys", "subscriber", "listener", "--dir", self.keys)
        analyzer = self.tapline("keys", "subscriber", "analyzer", "--dir", self.keys)
        self.tapline("keys", "subscriber", "stranger", "--dir", self.keys)
        self.tapline("keys", "revoke", "stranger", "--dir", self.keys)
        config = os.path.join(self.folder, "tapline.toml")
        sections = collector.split("[analyzer.curve]")[0] + "[analyzer.curve]" + analyzer.split("[analyzer.curve]")[1]
        with open(config, "w", encoding="utf-8") as out:
            out.write(f'[collector]\ndata = "{self.data}"\nlisten = ["unix:{self.folder}/uplink.sock"]\napi = ["unix:{self.data}/run/collector.sock"]\n'
                      f'feed = ["tcp://127.0.0.1:{self.port}"]\n[analyzer]\ndata = "{self.data}"\nfeed = ["tcp://127.0.0.1:{self.port}"]\ncollector = "none"\n'
                      f'workers = 1\n{sections}')
        os.makedirs(os.path.join(self.data, "run"))
        os.chmod(os.path.join(self.data, "run"), 0o777)
        self.start("collector", os.path.join(BINARIES, "tapline"), "collector", "--config", config)
        self.start("analyzer", os.path.join(BINARIES, "tapline"), "analyzer", "--config", config)
        wait_for("the analyzer", lambda: b"ready\n" == subprocess.run(["curl", "-s", "--unix-socket", f"{self.data}/run/analyzer.sock", "http://x/readyz"], stdout=subprocess.PIPE).stdout)
        listener, stranger, plain = self.subscribe("listener"), self.subscribe("stranger"), self.subscribe(None)
        time.sleep(1.0)
        capture = os.path.join(HERE, "..", "crates", "decode", "src", "protocols", "dns", "fixtures", "lookups.pcap")
        bounded([os.path.join(BINARIES, "tapline-probe"), "-r", capture, "--name", "gw1", "--collector", f"unix:{self.folder}/uplink.sock"], 30, check=True)
        self.assertTrue(listener.poll(5000), "who is on the list hears nothing")
        self.assertEqual(listener.recv_multipart()[0], b"data.v2.gw1/")
        self.assertFalse(stranger.poll(500) or plain.poll(500), "who is not on the list hears something")
        wait_for("the analyzer's events", lambda: Programs(os.path.abspath(BINARIES), self.data).events())
        metrics = bounded(["curl", "-s", "--unix-socket", f"{self.data}/run/collector.sock", "http://x/metrics"])
        self.assertGreater(int(re.search(r"^tapline_feed_denied_total (\d+)", metrics, re.M)[1]), 0)


if __name__ == "__main__":
    unittest.main()
