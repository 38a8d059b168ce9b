"""TLS between probe and collector over a veth pair: what is on the wire, who is let in as whom, and what revoking does."""
import os
import re
import subprocess
import tempfile
import time
import unittest

from lab import Lab, Programs, bounded, end, wait_for
from test_console import Unix, ask

BINARIES = os.path.abspath(os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(os.path.dirname(__file__), "..", "target")), "release"))
ROOT = os.geteuid() == 0
NEEDLE = "needle-in-the-clear"


@unittest.skipUnless(ROOT, "needs root: it makes a network namespace and captures")
class Tls(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        os.chmod(self.folder.name, 0o755)
        self.addCleanup(self.folder.cleanup)
        self.lab = Lab()
        self.addCleanup(self.lab.down)
        self.lab.up(servers=False)
        self.data = os.path.join(self.folder.name, "data")
        os.makedirs(os.path.join(self.data, "run"))
        self.programs = Programs(BINARIES, self.data)
        self.keys = os.path.join(self.folder.name, "keys")
        self.tapline("keys", "init", "--dir", self.keys)
        self.processes = []
        self.addCleanup(lambda: [end(process) for process in self.processes])

    def tapline(self, *words):
        return bounded([os.path.join(BINARIES, "tapline"), *words], check=True)

    def file(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    def start(self, name, *command):
        log = os.path.join(self.folder.name, f"{name}.log")
        with open(log, "ab") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        self.processes.append(process)
        return process, log

    def start_collector(self):
        tls = self.tapline("keys", "collector", "main", "--address", self.lab.address, "--dir", self.keys)
        config = self.file("collector.toml", f'[collector]\ndata = "{self.data}"\nlisten = ["{self.lab.address}:0"]\n'
                           f'api = ["unix:{self.data}/run/collector.sock"]\nfeed = []\n{tls}')
        process, self.collector_log = self.start("collector", os.path.join(BINARIES, "tapline"), "collector", "--config", config)
        wait_for("the collector", lambda: os.path.exists(f"{self.data}/run/collector.sock"))
        lines = wait_for("its port", lambda: bounded(["ss", "-Hltnp", "src", self.lab.address]).splitlines())
        mine = [line for line in lines if f"pid={process.pid}," in line]
        self.port = re.search(rf"{re.escape(self.lab.address)}:(\d+)", mine[0])[1]

    def start_probe(self, name, tls, host=None, source=None):
        config = self.file(f"{name}.toml", f'[probe]\nname = "{source or name}"\ninterfaces = ["{self.lab.peer_link}"]\n'
                           f'collector = ["{host or self.lab.address}:{self.port}"]\n{tls}')
        return self.start(name, "ip", "netns", "exec", self.lab.namespace, os.path.join(BINARIES, "tapline-probe"), "--config", config)

    def probe_tls(self, name, keys=None):
        return self.tapline("keys", "probe", name, "--dir", keys or self.keys)

    def sources(self):
        import json
        return {row["name"]: row for row in json.loads(ask(Unix(f"{self.data}/run/collector.sock"), "/api/v1/sources")[2])["sources"]}

    def connected(self, name):
        return self.sources().get(name, {}).get("connected", False)

    @staticmethod
    def said(log, words):
        with open(log, "rb") as text:
            return words in text.read().decode(errors="replace")

    def ping(self, count=3):
        bounded(["ping", "-q", "-c", str(count), "-i", "0.05", "-p", NEEDLE.encode().hex()[:32], self.lab.peer], check=True)

    def test_packets_arrive_and_nobody_can_read_them_on_the_way(self):
        self.start_collector()
        wire = os.path.join(self.folder.name, "wire.pcap")
        witness, _ = self.start("tcpdump", "tcpdump", "-i", self.lab.link, "-U", "-w", wire, "-Z", "root", "tcp", "port", self.port)
        wait_for("tcpdump", lambda: os.path.exists(wire) and os.path.getsize(wire) >= 24)
        probe, log = self.start_probe("gw1", self.probe_tls("gw1"))
        wait_for("the probe", lambda: self.connected("gw1"))
        self.ping(20)
        wait_for("the packets", lambda: int(self.programs.tapline("grab", "icmp[icmptype] == icmp-echo or icmp[icmptype] == icmp-echoreply", "--count").split()[0]) == 40)
        end(probe)
        self.assertEqual(probe.returncode, 0)
        rows = wait_for("the balance", lambda: [row for row in self.programs.balance_rows() if row["state"] == "complete"])
        self.assertTrue(rows[0]["closes"], rows)
        end(witness)
        with open(wire, "rb") as file:
            seen = file.read()
        self.assertGreater(len(seen), 2000)
        self.assertNotIn(NEEDLE.encode()[:8], seen)
        self.assertNotIn(b"gw1", seen)
        metrics = ask(Unix(f"{self.data}/run/collector.sock"), "/metrics")[2].decode()
        expires = int(re.search(r'tapline_source_certificate_expires_seconds\{source="gw1"\} (\d+)', metrics)[1])
        self.assertTrue(390 < (expires - time.time()) / 86400 < 398)
        self.assertIn("tapline_collector_certificate_expires_seconds ", metrics)

    def test_strangers_are_turned_away_and_told_why(self):
        self.start_collector()
        other = os.path.join(self.folder.name, "other")
        self.tapline("keys", "init", "--dir", other)
        good = self.probe_tls("gw1")
        stranger_ca = self.probe_tls("gw2", other).replace(f"{other}/ca.pem", f"{self.keys}/ca.pem")
        for name, tls, host, source, log_of, words in (
            ("stranger", stranger_ca, None, "gw2", "collector", "UnknownIssuer"),
            ("misnamed", good, None, "gw7", "probe", "the certificate is that of gw1"),
            ("plain", "allow_plaintext = true\n", None, None, "collector", "no TLS with a probe that is known here"),
            ("doubter", good.replace(f"{self.keys}/ca.pem", f"{other}/ca.pem"), None, "gw1", "probe", "UnknownIssuer"),
        ):
            with self.subTest(probe=name):
                probe, log = self.start_probe(name, tls, host, source)
                wait_for(words, lambda: self.said(log if log_of == "probe" else self.collector_log, words), 10)
                self.assertFalse(any(row["connected"] for row in self.sources().values()))
                probe.send_signal(2)
                probe.send_signal(2)
                end(probe)
        metrics = ask(Unix(f"{self.data}/run/collector.sock"), "/metrics")[2].decode()
        self.assertGreater(int(re.search(r'bad_peers_total\{reason="tls"\} (\d+)', metrics)[1]), 1)

    def test_what_is_revoked_is_out_at_once_and_others_stay(self):
        self.start_collector()
        self.start_probe("gw1", self.probe_tls("gw1"))
        self.start_probe("gw2", self.probe_tls("gw2"))
        wait_for("both probes", lambda: self.connected("gw1") and self.connected("gw2"))
        self.tapline("keys", "revoke", "gw1", "--dir", self.keys)
        wait_for("gw1 to be out", lambda: not self.connected("gw1"), 3)
        self.assertTrue(self.said(self.collector_log, "no longer good"))
        for _ in range(10):
            time.sleep(0.3)
            self.assertFalse(self.connected("gw1"))
            self.assertTrue(self.connected("gw2"))
        self.assertIn("gw1", self.tapline("keys", "list", "--dir", self.keys))


if __name__ == "__main__":
    unittest.main()
