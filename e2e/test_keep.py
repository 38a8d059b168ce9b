"""What becomes of finished segments: the hook is told, retention removes the oldest, pins keep them, rotation on demand; nothing is lost unseen."""
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

from lab import bounded, end, wait_for
from reader import numbers, segments

BINARIES = os.path.abspath(os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(os.path.dirname(__file__), "..", "target")), "release"))
NUMBERED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench", "workload", "numbered.py")
PACKETS = 20_000


class Keep(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        os.chmod(self.folder.name, 0o777)
        self.addCleanup(self.folder.cleanup)
        self.data = os.path.join(self.folder.name, "data")
        self.socket = os.path.join(self.folder.name, "api.sock")
        self.told = os.path.join(self.folder.name, "told")
        self.capture = os.path.join(self.folder.name, "numbered.pcap")
        bounded([sys.executable, NUMBERED, self.capture, str(PACKETS)], 60, check=True)
        os.chmod(self.capture, 0o644)
        self.collector = None
        self.addCleanup(lambda: self.collector and end(self.collector))

    def start(self, settings):
        hook = os.path.join(self.folder.name, "hook")
        with open(hook, "w", encoding="utf-8") as out:
            out.write(f'#!/bin/sh\n[ -s "$2" ] && echo "$1 $2" >> {self.told}\n')
        os.chmod(hook, 0o755)
        config = os.path.join(self.folder.name, "tapline.toml")
        with open(config, "w", encoding="utf-8") as out:
            out.write(f'[collector]\ndata = "{self.data}"\nlisten = ["unix:{self.folder.name}/uplink.sock"]\napi = ["unix:{self.socket}"]\nfeed = []\n'
                      f'hook = ["{hook}", "vie"]\nsegment_size = "256KiB"\n{settings}')
        self.log = open(os.path.join(self.folder.name, "collector.log"), "wb")
        self.addCleanup(self.log.close)
        self.collector = subprocess.Popen([os.path.join(BINARIES, "tapline"), "collector", "--config", config], stdout=self.log, stderr=self.log, start_new_session=True)
        wait_for("the collector", lambda: os.path.exists(self.socket))

    def tapline(self, *words):
        return bounded([os.path.join(BINARIES, "tapline"), *words, "--connect", f"unix:{self.socket}"], check=True)

    def send(self, name):
        bounded([os.path.join(BINARIES, "tapline-probe"), "-r", self.capture, "--name", name, "--collector", f"unix:{self.folder.name}/uplink.sock"], 60, check=True)

    def lines(self):
        if not os.path.exists(self.told):
            return []
        with open(self.told, encoding="utf-8") as lines:
            return lines.read().splitlines()

    def closed(self, source=""):
        return [path for path in segments(os.path.join(self.data, "archive", source)) if not path.endswith(".part")]

    def metrics(self):
        from test_console import Unix, ask
        text = ask(Unix(self.socket), "/metrics")[2].decode()
        return dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))

    def test_the_hook_is_told_of_each_finished_segment_once(self):
        self.start("")
        self.send("gw1")
        self.assertEqual(len(numbers(os.path.join(self.data, "archive"))), PACKETS)
        status = bounded(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "--unix-socket", self.socket, "http://x/api/v1/rotate?source=gw1"])
        self.assertEqual(status, "202")
        wait_for("all segments to be closed", lambda: len(self.closed()) > 3 and not [path for path in segments(os.path.join(self.data, "archive")) if path.endswith(".part")])
        wait_for("the hook", lambda: len(self.lines()) == len(self.closed()))
        self.assertEqual(sorted(self.lines()), sorted(f"vie {path}" for path in self.closed()))
        # A run is counted when its program has ended, which is a little after the line that it writes.
        wait_for("all runs to be counted", lambda: int(self.metrics()["tapline_hook_runs_total"]) >= len(self.closed()))
        self.assertEqual(int(self.metrics()["tapline_hook_runs_total"]), len(self.closed()))
        self.assertEqual(self.metrics()["tapline_hook_failures_total"], "0")

    def test_retention_by_source_removes_the_oldest_and_spares_what_is_pinned(self):
        self.start('[collector.sources.gw1.retention]\nsize = "600KiB"\n[collector.sources.gw2.retention]\nsize = "600KiB"\n')
        number = int(self.tapline("pin", "add", "--source", "gw2", "--since", "0", "--note", "ticket 4711").strip())
        self.assertIn("ticket 4711", self.tapline("pin", "list"))
        for source in ("gw1", "gw2", "gw3"):
            self.send(source)
        counts = {source: len(self.closed(source)) for source in ("gw2", "gw3")}
        wait_for("retention", lambda: sum(os.path.getsize(path) for path in segments(os.path.join(self.data, "archive", "gw1"))) <= 600 * 1024, 90)
        self.assertEqual({source: len(self.closed(source)) for source in counts}, counts)
        left = sorted(numbers(os.path.join(self.data, "archive", "gw1")))
        self.assertEqual(left, list(range(left[0], PACKETS)), "the oldest went, and nothing else")
        self.assertGreater(left[0], 0)
        rows = json.loads(bounded([os.path.join(BINARIES, "tapline"), "status", "--balance", "--json", "--connect", f"unix:{self.socket}"], check=True))["balance"]
        self.assertTrue(all(row["closes"] and row["archived_packets"] == PACKETS for row in rows), rows)
        self.tapline("pin", "remove", str(number))
        wait_for("gw2 to be cut", lambda: len(self.closed("gw2")) < counts["gw2"], 90)
        self.assertEqual(len(self.closed("gw3")), counts["gw3"])


if __name__ == "__main__":
    unittest.main()
