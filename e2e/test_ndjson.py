"""Files of events and standard output: every event once and every file readable, whatever is killed, full, slow or gone."""
import collections
import glob
import itertools
import json
import os
import random
import subprocess
import time
import unittest

import lookups
from lab import LabError, bounded, end, wait_for
from test_search import TAPLINE, Chain

COUNT = 5000
READERS = {".ndjson": ["cat"], ".gz": ["zcat"], ".zst": ["zstdcat"]}


def words(output, **values):
    """Settings of an output as arguments."""
    return [word for key, value in values.items() for word in ("--set", f"analyzer.output.{output}.{key}={json.dumps(value)}")]


class Case(unittest.TestCase):
    def setUp(self):
        self.chain = Chain(self)
        self.folder = os.path.join(self.chain.data, "events")

    def begin(self, **values):
        self.chain.start_parts(*words("ndjson", **values))
        self.base = self.chain.settings

    def capture(self, number):
        path = os.path.join(os.path.dirname(self.chain.data), f"{number}.pcap")
        lookups.write(path, COUNT, first=number * COUNT)
        self.chain.capture(path, f"source{number}")
        os.remove(path)

    def names(self):
        return sorted(os.path.basename(path) for path in glob.glob(os.path.join(self.folder, "events-*")))

    def read(self):
        """All events, file by file, as the usual programs read them."""
        found = []
        for name in self.names():
            reader = READERS[os.path.splitext(name)[1]]
            done = subprocess.run([*reader, os.path.join(self.folder, name)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20, check=False)
            self.assertEqual(done.returncode, 0, f"{name}: {done.stderr}")
            found += [json.loads(line) for line in done.stdout.splitlines()]
        return found

    def there(self):
        """How many events there are, while files come and go."""
        count = 0
        for name in self.names():
            reader = READERS.get(os.path.splitext(name)[1])
            if reader:
                count += bounded([*reader, os.path.join(self.folder, name)], 20).count("\n")
        return count

    def all_once(self, captures):
        """Ends the analyzer when all is there, and looks at what it leaves."""
        expected = 2 * COUNT * captures
        try:
            wait_for("all events", lambda: self.there() >= expected, 25)
        except LabError as error:
            raise LabError(f"{error}\n{self.there()} of {expected}\n{self.names()}\n{self.chain.log('analyzer')[-1500:]}") from None
        end(self.chain.processes["analyzer"], 20)
        events = self.read()
        again = {number: count for number, count in collections.Counter(event["_id"] for event in events).items() if count > 1}
        self.assertEqual(again, {}, "events are there twice")
        names = {event["dns"]["question"]["name"] for event in events if event["type"] == "dns"}
        self.assertEqual(names, {lookups.NAME.format(number) for number in range(captures * COUNT)})
        self.assertEqual(len(events), expected)
        self.assertEqual([name for name in self.names() if name.endswith(".ndjson")], self.names()[-1:], "finished files are compressed")


class Files(Case):
    def test_the_analyzer_is_killed_again_and_again(self):
        """With -9 at any moment, and started again with another compression."""
        self.begin(rotate="64KiB", compression="zstd")
        chance, forms = random.Random(7), itertools.cycle(("gzip", "zstd"))
        for number in range(3):
            self.capture(number)
            for _ in range(3):
                time.sleep(chance.uniform(0.1, 0.6))
                self.chain.kill_analyzer()
                self.chain.settings = [*self.base, *words("ndjson", compression=next(forms))]
                self.chain.start_analyzer()
        self.all_once(3)
        names = self.names()
        print(f"\n  9 kills, {len(names)} files: {sum(name.endswith('.gz') for name in names)} gzip, {sum(name.endswith('.zst') for name in names)} zstd")

    @unittest.skipUnless(os.geteuid() == 0, "mounting a small file system needs root")
    def test_a_full_disk_is_waited_for(self):
        os.makedirs(self.folder)
        bounded(["mount", "-t", "tmpfs", "-o", "size=16m", "tapline-events", self.folder], check=True)
        self.addCleanup(self.unmount)
        filler = os.path.join(self.folder, "filler")
        with open(filler, "wb") as file:
            file.write(bytes(int(15.5 * 2**20)))
        self.begin(rotate="128KiB", compression="zstd")
        self.capture(0)
        wait_for("the disk to be full", lambda: (self.chain.status() or {}).get("ndjson", {}).get("failing"))
        time.sleep(0.5)
        self.chain.kill_analyzer()
        self.chain.start_analyzer()
        wait_for("the disk to be full again", lambda: (self.chain.status() or {}).get("ndjson", {}).get("failing"))
        self.assertLess(self.there(), 2 * COUNT)
        os.remove(filler)
        self.all_once(1)
        self.assertEqual(glob.glob(os.path.join(self.folder, "*.part")), [])

    def unmount(self):
        for process in self.chain.processes.values():
            end(process)
        bounded(["umount", self.folder])

    def test_a_new_file_with_the_time_although_nothing_comes(self):
        self.begin(rotate_time="1s", compression="gzip", rotate_zone="Europe/Vienna")
        self.capture(0)
        wait_for("the file to be finished and compressed", lambda: len(self.names()) > 1 and self.names()[-2].endswith(".gz"))
        sandbox = json.loads(bounded(["curl", "-s", "--unix-socket", f"{self.chain.data}/run/analyzer.sock", "http://analyzer/status"]))["sandbox"]
        self.assertEqual(sandbox["seccomp"], "enforced", "compressed inside the sandbox")
        self.all_once(1)


class StandardOutput(Case):
    """The analyzer writes to a pipe of ours, and to files beside it."""

    def with_pipe(self):
        self.begin()
        end(self.chain.processes["analyzer"])
        log = open(os.path.join(os.path.dirname(self.chain.data), "analyzer.log"), "ab")
        self.addCleanup(log.close)
        process = subprocess.Popen([TAPLINE, "analyzer", *self.base, *words("stdout", enabled=True)], stdout=subprocess.PIPE, stderr=log, start_new_session=True)
        self.addCleanup(process.stdout.close)
        self.chain.processes["analyzer"] = process
        return process

    def test_a_reader_that_is_gone_costs_the_other_outputs_nothing(self):
        process = self.with_pipe()
        self.capture(0)
        self.assertIn("_id", json.loads(process.stdout.readline()))
        process.stdout.close()
        self.all_once(1)

    def test_a_slow_reader_gets_everything_once(self):
        process = self.with_pipe()
        self.capture(0)
        wait_for("the output to wait", lambda: self.chain.status()["stdout"]["failing"])
        found = [json.loads(process.stdout.readline()) for _ in range(2 * COUNT)]
        self.assertEqual(len({event["_id"] for event in found}), 2 * COUNT)
        self.all_once(1)
        self.assertEqual(process.stdout.read(), b"")


if __name__ == "__main__":
    unittest.main()
