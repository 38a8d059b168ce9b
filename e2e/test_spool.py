"""The probe's spool on disk, with real traffic over a veth pair: a collector that is away, a probe that is killed, a disk that is full."""
import os
import re
import signal
import socket
import struct
import tempfile
import threading
import time
import unittest
import subprocess
import json

from lab import Lab, bounded, closes, end, rows, wait_for
from reader import numbers

BINARIES = os.path.abspath(os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(os.path.dirname(__file__), "..", "target")), "release"))
ROOT = os.geteuid() == 0
PORT = 40_000


class Traffic(threading.Thread):
    """Numbered packets of 214 bytes that do not compress, at a steady rate."""

    def __init__(self, address, rate, first=0):
        super().__init__(daemon=True)
        self.address, self.rate, self.first, self.sent, self.ended = address, rate, first, first, False
        self.start()

    def run(self):
        noise = os.urandom(1 << 16)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            began = time.monotonic()
            while not self.ended:
                due = self.first + int((time.monotonic() - began) * self.rate)
                while self.sent < due:
                    at = self.sent * 61 % (len(noise) - 164)
                    try:
                        out.sendto(noise[at:at + 164] + struct.pack(">Q", self.sent), (self.address, PORT))
                    except ConnectionRefusedError:
                        continue
                    self.sent += 1
                time.sleep(0.002)

    def end(self):
        self.ended = True
        self.join()
        return self.sent


@unittest.skipUnless(ROOT, "needs root: it makes a network namespace and captures")
class Spool(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        os.chmod(self.folder.name, 0o755)
        self.addCleanup(self.folder.cleanup)
        self.lab = Lab()
        self.addCleanup(self.lab.down)
        self.lab.up(servers=False)
        # Somebody listens: else each packet would be answered.
        self.lab.inside("python3", "-c", f"import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', {PORT}))\nwhile True: s.recv(999)")
        time.sleep(0.5)
        self.data = os.path.join(self.folder.name, "data")
        self.api = os.path.join(self.folder.name, "api.sock")
        self.uplink = os.path.join(self.folder.name, "uplink.sock")
        self.spool = os.path.join(self.folder.name, "spool")
        self.processes = []
        self.addCleanup(lambda: [end(process) for process in self.processes])

    def start(self, name, *command):
        log = os.path.join(self.folder.name, f"{name}.log")
        with open(log, "ab") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        self.processes.append(process)
        return process

    def start_collector(self):
        config = os.path.join(self.folder.name, "collector.toml")
        # Where root has changed to another user, its folder must let that in.
        os.makedirs(self.data, exist_ok=True)
        with open(config, "w", encoding="utf-8") as out:
            out.write(f'[collector]\ndata = "{self.data}"\nlisten = ["unix:{self.uplink}"]\napi = ["unix:{self.api}"]\nfeed = []\nuser = "root"\n')
        collector = self.start("collector", os.path.join(BINARIES, "tapline"), "collector", "--config", config)

        def answers():
            with socket.socket(socket.AF_UNIX) as client:
                return client.connect_ex(self.api) == 0

        wait_for("the collector", answers)
        os.chmod(self.uplink, 0o777)
        return collector

    def start_probe(self, *words, name="spooled"):
        return self.start("probe", os.path.join(BINARIES, "tapline-probe"), "-i", self.lab.link, "-f", f"udp and dst port {PORT}", "--name", name,
                          "--collector", f"unix:{self.uplink}", *(word for text in words for word in ("--set", f"probe.spool.{text}")))

    def log(self, name="probe"):
        with open(os.path.join(self.folder.name, f"{name}.log"), encoding="utf-8") as log:
            return log.read()

    def balance(self):
        return rows(json.loads(bounded([os.path.join(BINARIES, "tapline"), "status", "--balance", "--json", "--connect", f"unix:{self.api}"], check=True)))

    def ready(self, probe):
        wait_for("the probe to capture", lambda: probe.poll() is None and "connected to" in self.log())

    def archived(self):
        return numbers(os.path.join(self.data, "archive"))

    def settle(self):
        """Waits until the connected run has stated its counts and nothing is on its way."""
        def settled():
            connected = [row for row in self.balance() if row["connected"]]
            return connected and all(row["counted_nanos"] and not row["in_flight_packets"] for row in connected)

        wait_for("everything to be archived", settled, 60)

    def files(self):
        return [os.path.join(folder, name) for folder, _, names in os.walk(self.spool) for name in names if name != "lock"]

    def test_a_collector_that_is_away_costs_nothing(self):
        collector = self.start_collector()
        probe = self.start_probe(f"directory={self.spool}", "memory=1MiB", "disk=256MiB")
        self.ready(probe)
        traffic = Traffic(self.lab.peer, 5_000)
        time.sleep(2)
        collector.kill()
        collector.wait()
        time.sleep(20)
        used = sum(os.path.getsize(path) for path in self.files())
        self.assertGreater(used, 5 << 20, "the spool is on the disk")
        with open(f"/proc/{probe.pid}/status", encoding="utf-8") as status:
            memory = int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1)) // 1024
        owner = {os.stat(path).st_uid for path in self.files()}
        self.assertEqual(len(owner), 1)
        self.assertNotEqual(owner, {0}, "the spool is not root's")
        self.start_collector()
        back = time.monotonic()
        time.sleep(3)
        sent = traffic.end()
        self.settle()
        drained = time.monotonic() - back
        probe.send_signal(signal.SIGINT)
        self.assertEqual(probe.wait(30), 0)
        found = self.archived()
        self.assertEqual(([n for n in range(sent) if n not in found], [n for n, count in found.items() if count > 1]), ([], []))
        self.assertEqual(self.files(), [], "what was acknowledged is removed")
        print(f"\n  {sent} packets, {used >> 20} MiB on the disk, caught up within {drained:.1f} s, memory at most {memory} MiB; {self.log().splitlines()[-1]}")

    def test_a_probe_that_is_killed_while_the_collector_is_away(self):
        collector = self.start_collector()
        probe = self.start_probe(f"directory={self.spool}", 'mode=disk')
        self.ready(probe)
        traffic = Traffic(self.lab.peer, 5_000)
        time.sleep(2)
        collector.kill()
        collector.wait()
        time.sleep(5)
        written = traffic.sent
        time.sleep(0.3)
        probe.kill()
        probe.wait()
        killed = traffic.end()
        probe = self.start_probe(f"directory={self.spool}", 'mode=disk')
        wait_for("the probe to say what it found", lambda: "which was killed, are still to be delivered" in self.log())
        time.sleep(1)
        traffic = Traffic(self.lab.peer, 5_000, first=killed)
        time.sleep(1)
        self.start_collector()
        time.sleep(2)
        sent = traffic.end()
        self.settle()
        balance = self.balance()
        probe.send_signal(signal.SIGINT)
        self.assertEqual(probe.wait(30), 0)
        found = self.archived()
        missing = [n for n in range(sent) if n not in found]
        self.assertEqual([n for n, count in found.items() if count > 1], [])
        self.assertTrue(all(written <= n < killed for n in missing), f"{len(missing)} missing, such as {missing[:3]}; written {written}, killed {killed}")
        self.assertEqual([row["state"] for row in balance], ["open", "unclean"])
        for row in balance:
            self.assertTrue(closes(row), row)
            self.assertEqual((row["in_flight_packets"], row["dropped_packets"]), (0, 0), row)
        self.assertEqual(balance[1]["captured_packets"], sum(1 for n in found if n < killed), "the older run's balance is what was found")
        self.assertIn("of earlier runs:", self.log())
        print(f"\n  {killed} sent when killed, {killed - min(missing, default=killed)} of them gone, {len(found)} archived; {self.log().splitlines()[-1]}")

    def test_an_orderly_end_keeps_what_was_not_delivered(self):
        probe = self.start_probe(f"directory={self.spool}")
        wait_for("the probe to run", lambda: "trying again" in self.log())
        traffic = Traffic(self.lab.peer, 2_000)
        time.sleep(2)
        sent = traffic.end()
        time.sleep(0.2)
        probe.send_signal(signal.SIGINT)
        self.assertEqual(probe.wait(30), 0)
        self.assertIn("the next run delivers it", self.log())
        self.start_collector()
        probe = self.start_probe(f"directory={self.spool}")
        self.settle()
        balance = self.balance()
        probe.send_signal(signal.SIGINT)
        self.assertEqual(probe.wait(30), 0)
        self.assertEqual(sorted(self.archived().items()), [(n, 1) for n in range(sent)])
        self.assertEqual(sorted(row["state"] for row in balance), ["complete", "open"])
        self.assertTrue(all(closes(row) for row in balance), balance)

    def test_two_probes_cannot_share_a_spool(self):
        first = self.start_probe(f"directory={self.spool}")
        wait_for("the probe to run", lambda: "trying again" in self.log())
        second = bounded([os.path.join(BINARIES, "tapline-probe"), "-i", self.lab.link, "--name", "spooled", "--collector", f"unix:{self.uplink}",
                          "--set", f"probe.spool.directory={self.spool}"])
        self.assertEqual(second, "")
        done = subprocess.run([os.path.join(BINARIES, "tapline-probe"), "-i", self.lab.link, "--name", "spooled", "--collector", f"unix:{self.uplink}",
                               "--set", f"probe.spool.directory={self.spool}"], stderr=subprocess.PIPE, timeout=10)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"another probe uses this spool", done.stderr)
        self.assertIsNone(first.poll())

    def test_a_full_disk_under_the_spool_is_counted_and_passes(self):
        os.makedirs(self.spool)
        bounded(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0777", "tapline-spool", self.spool], check=True)
        self.addCleanup(lambda: bounded(["umount", self.spool]))
        collector = self.start_collector()
        probe = self.start_probe(f"directory={self.spool}", "memory=1MiB", "disk=256MiB")
        self.ready(probe)
        traffic = Traffic(self.lab.peer, 5_000)
        time.sleep(1)
        collector.kill()
        collector.wait()
        wait_for("the disk to fill up", lambda: "the disk fails" in self.log(), 30)
        time.sleep(3)
        self.start_collector()
        time.sleep(4)
        sent = traffic.end()
        self.settle()
        balance = self.balance()
        probe.send_signal(signal.SIGINT)
        self.assertEqual(probe.wait(30), 0)
        found = self.archived()
        missing = [n for n in range(sent) if n not in found]
        self.assertEqual([n for n, count in found.items() if count > 1], [])
        self.assertEqual([row["dropped"] for row in balance], [{"spool/disk": len(missing)}])
        self.assertTrue(missing and all(closes(row) for row in balance), balance)
        print(f"\n  {sent} sent, {len(missing)} dropped and counted; {self.log().splitlines()[-2:]}")


if __name__ == "__main__":
    unittest.main()
