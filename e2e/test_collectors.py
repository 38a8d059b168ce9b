"""Several collectors of one probe, with real traffic over a veth pair: every packet to each, or to the first that answers."""
import json
import os
import re
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest

from lab import Lab, bounded, closes, end, rows, wait_for
from reader import numbers
from test_spool import BINARIES, PORT, ROOT, Traffic


class Collector:
    """One collector with a data directory and sockets of its own."""

    def __init__(self, test, name):
        self.test, self.name = test, name
        self.folder = os.path.join(test.folder.name, name)
        os.makedirs(self.folder)
        os.chmod(self.folder, 0o755)
        self.api, self.data = os.path.join(self.folder, "api.sock"), os.path.join(self.folder, "data")
        self.address = f"unix:{self.folder}/uplink.sock"
        self.config = os.path.join(self.folder, "collector.toml")
        self.process, self.tls = None, ""

    def over_tls(self, host, keys):
        """Listens on a port that is free now, with a certificate."""
        with socket.socket() as free:
            free.bind((host, 0))
            self.address = "%s:%d" % free.getsockname()
        self.tls = self.test.tapline("keys", "collector", self.name, "--address", host, "--dir", keys)

    def start(self):
        with open(self.config, "w", encoding="utf-8") as out:
            out.write(f'[collector]\ndata = "{self.data}"\nlisten = ["{self.address}"]\napi = ["unix:{self.api}"]\nfeed = []\nuser = "root"\n{self.tls}')
        self.process = self.test.start(self.name, os.path.join(BINARIES, "tapline"), "collector", "--config", self.config)

        def answers():
            with socket.socket(socket.AF_UNIX) as client:
                return client.connect_ex(self.api) == 0

        wait_for(f"the collector {self.name}", answers)
        if self.address.startswith("unix:"):
            os.chmod(self.address[5:], 0o777)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def balance(self):
        return rows(json.loads(self.test.tapline("status", "--balance", "--json", "--connect", f"unix:{self.api}")))

    def archived(self):
        return numbers(os.path.join(self.data, "archive"))


@unittest.skipUnless(ROOT, "needs root: it makes a network namespace and captures")
class Collectors(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        os.chmod(self.folder.name, 0o755)
        self.addCleanup(self.folder.cleanup)
        self.lab = Lab()
        self.addCleanup(self.lab.down)
        self.lab.up(servers=False)
        # Somebody listens: else each packet would be answered.
        self.lab.inside("python3", "-c", f"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', {PORT}))\nwhile True: s.recv(999)")
        self.spool = os.path.join(self.folder.name, "spool")
        self.status = os.path.join(self.folder.name, "status.sock")
        self.processes = []
        self.addCleanup(lambda: [end(process) for process in self.processes])
        self.one, self.other = Collector(self, "one"), Collector(self, "other")

    @staticmethod
    def tapline(*words):
        return bounded([os.path.join(BINARIES, "tapline"), *words], check=True)

    def start(self, name, *command):
        with open(os.path.join(self.folder.name, f"{name}.log"), "ab") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        self.processes.append(process)
        return process

    def start_probe(self, mode, *words):
        words = (f"status=unix:{self.status}", *words)
        return self.start("probe", os.path.join(BINARIES, "tapline-probe"), "-i", self.lab.link, "-f", f"udp and dst port {PORT}", "--name", "gw1",
                          "--collector", self.one.address, "--collector", self.other.address, "--collector-mode", mode,
                          *(word for text in words for word in ("--set", f"probe.{text}")))

    def log(self):
        with open(os.path.join(self.folder.name, "probe.log"), encoding="utf-8") as log:
            return log.read()

    def ask(self, path):
        return bounded(["curl", "-s", "-w", "\n%{http_code}", "--unix-socket", self.status, f"http://probe{path}"]).rsplit("\n", 1)

    def metric(self, name, collector=None):
        labels = f',collector="{collector.address}"' if collector else ""
        found = re.search(rf'^tapline_probe_{name}\{{source="gw1"{re.escape(labels)}\}} (\d+)$', self.ask("/metrics")[0], re.M)
        return int(found[1]) if found else None

    def ready(self):
        wait_for("the probe to be ready", lambda: self.ask("/readyz") == ["ready\n", "200"])

    def finish(self, probe):
        probe.send_signal(signal.SIGINT)
        self.assertEqual(probe.wait(20), 0, self.log())

    def once(self, collector, sent):
        found = collector.archived()
        self.assertEqual(([n for n in range(sent) if n not in found], [n for n, count in found.items() if count > 1]), ([], []), collector.name)

    def complete(self, collector):
        """Waits for the goodbye, with which the account closes; gives the row."""
        row, = wait_for(f"the goodbye at {collector.name}", lambda: [row for row in collector.balance() if row["state"] == "complete"])
        self.assertTrue(closes(row), row)
        return row

    def names(self, collector):
        """What the archive says of the batches: the same at each."""
        row, = collector.balance()
        return row["source"], row["epoch"], row["durable_seq"], row["archived_packets_now"]

    def outage(self, *words):
        """Both get everything, one is killed in the middle and comes back; gives what was sent."""
        self.one.start()
        self.other.start()
        probe = self.start_probe("all", *words)
        self.ready()
        traffic = Traffic(self.lab.peer, 4_000)
        time.sleep(1)
        self.one.kill()
        wait_for("the probe to notice", lambda: self.ask("/readyz") == [f"not connected:\n{self.one.address}\n", "503"])
        before = self.metric("acknowledged_packets_total", self.other)
        time.sleep(2)
        after, held = self.metric("acknowledged_packets_total", self.other), self.metric("held_packets", self.one)
        self.assertGreater(after - before, 4_000, "the other goes on")
        self.assertLess(self.metric("held_packets", self.other), held)
        self.assertEqual((self.metric("connected", self.one), self.metric("connected", self.other)), (0, 1))
        folders = sorted(os.listdir(self.spool)) if os.path.isdir(self.spool) else []
        self.one.start()
        self.ready()
        time.sleep(0.5)
        sent = traffic.end()
        time.sleep(0.3)
        self.finish(probe)
        return sent, held, folders

    def test_each_gets_everything_whatever_happens_to_the_other(self):
        sent, held, folders = self.outage(f"spool.directory={self.spool}", "spool.memory=256KiB", "spool.disk=64MiB")
        for collector in (self.one, self.other):
            self.assertEqual(self.complete(collector)["dropped_packets"], 0)
            self.once(collector, sent)
        self.assertEqual(self.names(self.one), self.names(self.other))
        self.assertEqual([name.count("@unix:") for name in folders], [1, 1], folders)
        print(f"\n  {sent} packets in both archives, {held} of them held for one meanwhile; {self.log().splitlines()[-2:]}")

    def test_what_one_spool_drops_is_a_gap_in_one_log_only(self):
        sent, _, _ = self.outage("spool.memory=512KiB")
        self.assertEqual(self.complete(self.other)["dropped_packets"], 0)
        self.once(self.other, sent)
        row, found = self.complete(self.one), self.one.archived()
        missing = [n for n in range(sent) if n not in found]
        self.assertEqual([n for n, count in found.items() if count > 1], [])
        self.assertTrue(missing)
        self.assertEqual(row["dropped"], {"spool/buffer_full": len(missing)})
        print(f"\n  {sent} sent, {len(missing)} dropped for one collector and counted there")

    def test_a_probe_that_is_killed_owes_each_what_it_lacks(self):
        self.one.start()
        self.other.start()
        words = ("all", f"spool.directory={self.spool}", "spool.mode=disk")
        probe = self.start_probe(*words)
        self.ready()
        # Connected, but stalled: it takes nothing more.
        self.one.process.send_signal(signal.SIGSTOP)
        traffic = Traffic(self.lab.peer, 4_000)
        time.sleep(1)
        sent = traffic.end()
        wait_for("the other to have everything", lambda: self.metric("acknowledged_packets_total", self.other) == sent)
        self.assertEqual(self.metric("acknowledged_packets_total", self.one), 0)
        probe.kill()
        probe.wait()
        self.one.process.send_signal(signal.SIGCONT)
        probe = self.start_probe(*words)
        self.ready()
        wait_for("the rest to arrive", lambda: sum(self.one.archived().values()) >= sent)
        self.finish(probe)
        for collector in (self.one, self.other):
            self.once(collector, sent)
            self.assertEqual([(row["closes"], row["in_flight_packets"], row["dropped_packets"]) for row in collector.balance()], [(True, 0, 0)] * 2)
        self.assertEqual([name for _, _, names in os.walk(self.spool) for name in names if name != "lock"], [], "what was acknowledged is removed")

    def test_with_tls_to_each(self):
        keys = os.path.join(self.folder.name, "keys")
        self.tapline("keys", "init", "--dir", keys)
        self.one.over_tls(self.lab.address, keys)
        self.other.over_tls("127.0.0.1", keys)
        tls = re.findall(r'(certificate|key|ca) = "(.*)"', self.tapline("keys", "probe", "gw1", "--dir", keys))
        self.assertEqual(len(tls), 3)
        self.one.start()
        self.other.start()
        probe = self.start_probe("all", "user=root", *(f'tls.{name}="{path}"' for name, path in tls))
        self.ready()
        traffic = Traffic(self.lab.peer, 1_000)
        time.sleep(1)
        sent = traffic.end()
        time.sleep(0.3)
        self.finish(probe)
        for collector in (self.one, self.other):
            self.complete(collector)
            self.once(collector, sent)

    def test_the_slowest_sets_the_pace_of_a_file(self):
        capture = os.path.join(self.folder.name, "file.pcap")
        sent = 20_000
        with open(capture, "wb") as out:
            out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
            for number in range(sent):
                out.write(struct.pack("<IIII", 1_700_000_000, number, 214, 214) + os.urandom(206) + struct.pack(">Q", number))
        self.one.start()
        probe = self.start("probe", os.path.join(BINARIES, "tapline-probe"), "-r", capture, "--name", "gw1", "--collector", self.one.address,
                           "--collector", self.other.address, "--collector-mode", "all", "--set", "probe.spool.memory=512KiB",
                           "--set", f"probe.status=unix:{self.status}")
        wait_for("the probe to wait", lambda: os.path.exists(self.status) and self.metric("held_packets", self.other))
        time.sleep(1)
        read = self.metric("captured_packets_total")
        time.sleep(0.5)
        self.assertEqual(self.metric("captured_packets_total"), read, "it waits for the one that is away")
        self.assertLess(read, sent)
        self.other.start()
        self.assertEqual(probe.wait(20), 0, self.log())
        for collector in (self.one, self.other):
            self.assertEqual(self.complete(collector)["dropped_packets"], 0)
            self.once(collector, sent)
        print(f"\n  {sent} packets in the file, {read} read while one collector was away")

    def test_failover(self):
        self.one.start()
        self.other.start()
        probe = self.start_probe("failover")
        self.ready()
        self.assertEqual((self.metric("connected", self.one), self.metric("connected", self.other)), (1, 0))
        traffic = Traffic(self.lab.peer, 4_000)
        time.sleep(1.5)
        self.one.kill()
        wait_for("the other to take over", lambda: self.metric("connected", self.other) == 1)
        self.ready()
        time.sleep(1)
        # The first comes back, without what the other has: the probe stays where it is.
        self.one.start()
        time.sleep(0.5)
        sent = traffic.end()
        time.sleep(0.3)
        self.finish(probe)
        found, more = self.one.archived(), self.other.archived()
        self.assertEqual([n for n in range(sent) if n not in found and n not in more], [])
        self.assertTrue(found and more)
        self.assertEqual(self.complete(self.other)["captured_packets"], len(more), "what the first has acknowledged is not in the second's account")
        self.assertEqual([count for archive in (found, more) for count in archive.values() if count > 1], [], "once in each")
        print(f"\n  {sent} sent, {len(found)} in the first archive, {len(more)} in the second, {len(found & more)} in both")

    def test_a_collector_that_was_passed_over_gets_the_next_run(self):
        self.one.start()
        self.other.start()
        probe = self.start_probe("failover")
        self.ready()
        traffic = Traffic(self.lab.peer, 2_000)
        time.sleep(0.7)
        self.one.kill()
        wait_for("the other to take over", lambda: self.metric("connected", self.other) == 1)
        acknowledged = self.metric("acknowledged_packets_total")
        wait_for("the other to have something", lambda: self.metric("acknowledged_packets_total") > acknowledged + 1000)
        self.one.start()
        self.other.kill()
        wait_for("the probe to say so", lambda: "it can go on with the next run only" in self.log())
        self.assertEqual(self.ask("/readyz")[1], "503")
        self.other.start()
        self.ready()
        sent = traffic.end()
        time.sleep(0.3)
        self.finish(probe)
        found, more = self.one.archived(), self.other.archived()
        self.assertEqual([n for n in range(sent) if n not in found and n not in more], [])
        self.assertEqual(self.complete(self.other)["captured_packets"], len(more))
        probe = self.start_probe("failover")
        self.ready()
        self.assertEqual((self.metric("connected", self.one), self.metric("connected", self.other)), (1, 0))
        self.finish(probe)

    def test_a_collector_given_twice_is_a_mistake(self):
        done = subprocess.run([os.path.join(BINARIES, "tapline-probe"), "-i", "lo", "--collector", "unix:/a", "--collector", "unix:/a", "--collector-mode", "all"],
                              stderr=subprocess.PIPE, timeout=10)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"unix:/a is given twice", done.stderr)


if __name__ == "__main__":
    unittest.main()
