"""`tapline up`, `status` and `grab` where things are not as they should be: killed, already running, elsewhere, ended, mixed. What a user sees then."""
import json
import os
import random
import signal
import socket
import struct
import subprocess
import tempfile
import time
import unittest

from lab import bounded, end, wait_for
from reader import segments
from witness import digests

BINARIES = os.path.abspath(os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(os.path.dirname(__file__), "..", "target")), "release"))
ETHERNET, RAW = 1, 101


def packet(number, link_type):
    """A UDP packet on its link."""
    udp = struct.pack(">HHHH", 5000, 6000, 8 + 4, 0) + struct.pack(">I", number)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), number & 0xffff, 0, 64, 17, 0, bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]))
    return (bytes(12) + b"\x08\x00" if link_type == ETHERNET else b"") + ip + udp


def record(number, link_type):
    data = packet(number, link_type)
    return struct.pack("<IIII", 1_700_000_000 + number, 0, len(data), len(data)) + data


def header(link_type):
    return struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, link_type)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def children_of(pid):
    return [int(number) for number in bounded(["ps", "-o", "pid=", "--ppid", str(pid)]).split()]


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Commands(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        os.chmod(self.folder.name, 0o755)
        self.addCleanup(self.folder.cleanup)
        self.data = self.path("data")
        self.logs = 0

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def write(self, name, content):
        with open(self.path(name), "wb") as out:
            out.write(content if isinstance(content, bytes) else content.encode())
        os.chmod(self.path(name), 0o644)
        return self.path(name)

    def capture(self, name, count, link_type=ETHERNET):
        return self.write(name, header(link_type) + b"".join(record(number, link_type) for number in range(count)))

    def run_tapline(self, *words, seconds=30, **more):
        """Gives exit code, standard output and standard error."""
        done = subprocess.run([os.path.join(BINARIES, "tapline"), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds, **more)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def start(self, *words, program="tapline", ready=None, **more):
        """Starts a program and waits until its log has `ready`; gives process and log."""
        self.logs += 1
        path = self.path(f"{self.logs}.log")
        with open(path, "wb") as log:
            process = subprocess.Popen([os.path.join(BINARIES, program), *words], stdout=log, stderr=log, start_new_session=True, **more)
        self.addCleanup(end, process, 20)

        def is_ready():
            said = self.said(path)
            self.assertIsNone(process.poll(), said)
            return ready in said
        if ready:
            wait_for(ready, is_ready)
        return process, path

    @staticmethod
    def said(path):
        with open(path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def up(self, *words, ready="all files are archived", **more):
        return self.start("up", "--data", self.data, "--console", "none", *words, ready=ready, **more)

    def two_link_types(self):
        """`up` with a source on Ethernet and one on raw IP."""
        up = self.up("-r", self.capture("one.pcap", 3), "--name", "one")
        bounded([os.path.join(BINARIES, "tapline-probe"), "-r", self.capture("two.pcap", 2, RAW), "--name", "two",
                 "--collector", f"unix:{self.data}/run/uplink.sock"], check=True)
        return up

    def interrupt(self, process):
        process.send_signal(signal.SIGINT)
        return process.wait(30)

    @unittest.skipUnless(os.geteuid() == 0, "captures")
    def test_nothing_of_a_killed_up_stays_behind_and_the_archive_is_closed(self):
        address = "127.{}.{}.{}".format(*(random.SystemRandom().randrange(1, 254) for _ in range(3)))
        words = ("--data", self.data, "-i", "lo", "-f", f"icmp and host {address}", "--console", "127.0.0.1:0")
        up, _ = self.start("up", *words, ready="tapline: the page is at")
        children = children_of(up.pid)
        self.assertEqual(len(children), 4)
        bounded(["ping", "-q", "-c", "5", "-i", "0.05", address], check=True)
        up.kill()
        up.wait()
        wait_for("all programs to end by themselves", lambda: not any(map(is_alive, children)), 8)
        self.assertEqual([path for path in segments(os.path.join(self.data, "archive")) if path.endswith(".part")], [])
        code, out, _ = self.run_tapline("grab", "icmp", "--count", "--archive", os.path.join(self.data, "archive"))
        self.assertEqual((code, out), (0, "10 packets\n"))
        again, log = self.start("up", *words, ready="tapline: the page is at")
        self.assertNotIn("left open", self.said(log))
        # Whoever starts it at once waits for those that a killed one left behind.
        again.kill()
        again.wait()
        once_more, log = self.start("up", *words, ready="tapline: the page is at")
        self.assertRegex(self.said(log), r"waiting for another tapline \(process \d+\) to end")
        self.assertEqual(self.interrupt(once_more), 0)

    def test_the_one_that_is_running_is_named(self):
        up, _ = self.up("-r", self.capture("one.pcap", 1))
        code, _, message = self.run_tapline("up", "-r", self.path("one.pcap"), "--data", self.data, "--console", "none")
        self.assertEqual(code, 1)
        self.assertIn(f"another tapline (process {up.pid}) is running on {self.data}", message)
        # Another collector on the same archive is named, too, even if nobody finds its socket.
        config = self.write("other.toml", f'[collector]\ndata = "{self.data}"\nlisten = []\nfeed = []\napi = ["unix:{self.path("other.sock")}"]\n')
        code, _, message = self.run_tapline("collector", "--config", config)
        self.assertEqual(code, 1)
        self.assertRegex(message, r"another collector \(process \d+\) writes the archive")

    def test_status_looks_where_the_configuration_says_and_says_where_it_looked(self):
        port, status = free_port(), free_port()
        config = self.write("tapline.toml", f'[collector]\ndata = "{self.data}"\nlisten = ["unix:{self.path("uplink.sock")}"]\nfeed = ["ipc://{self.data}/run/feed"]\n'
                            f'api = ["127.0.0.1:{port}"]\n[analyzer]\ndata = "{self.data}"\ncollector = "http://127.0.0.1:{port}"\nstatus = "127.0.0.1:{status}"\n')
        self.start("collector", "--config", config, ready="collecting")
        code, out, _ = self.run_tapline("status", "--config", config)
        self.assertEqual(code, 0)
        self.assertIn(f"collector    http://127.0.0.1:{port}", out)
        self.assertRegex(out, rf"analyzer     not reached: tried unix:{self.data}/run/analyzer.sock \(.*\), http://127.0.0.1:{status} \(.*--config")
        self.start("analyzer", "--config", config, ready="following the feed")
        wait_for("the analyzer", lambda: f"analyzer     http://127.0.0.1:{status} (version" in self.run_tapline("status", "--config", config)[1])
        answer = json.loads(self.run_tapline("status", "--json", "--config", config)[1])
        self.assertEqual((answer["analyzer_url"], answer["analyzer_error"]), (f"http://127.0.0.1:{status}", None))
        # A collector on TCP only is that of its own data directory, and of no other.
        for command in (["sources"], ["status", "--balance"], ["grab", "--count"]):
            self.assertEqual(self.run_tapline(*command, "--config", config, "--data", self.data)[0], 0, command)
            code, _, message = self.run_tapline(*command, "--config", config, "--data", self.path("elsewhere"))
            self.assertEqual(code, 1, command)
            self.assertIn(f"http://127.0.0.1:{port} (it writes the archive {self.data}/archive)", message)
            self.assertIn("--connect", message)

    def test_an_analyzer_says_which_collector_it_misses_and_what_to_do(self):
        port = free_port()
        config = self.write("tapline.toml", f'[analyzer]\ndata = "{self.data}"\nfeed = ["ipc://{self.path("feed")}"]\ncollector = "http://127.0.0.1:{port}"\n')
        _, log = self.start("analyzer", "--config", config, ready="cannot be asked")
        self.assertIn(f"http://127.0.0.1:{port}", self.said(log))
        self.assertIn("start the collector, or set analyzer.collector", self.said(log))
        self.assertNotIn("--connect", self.said(log))

    def test_what_an_ended_up_archived_is_read_from_its_files(self):
        up, _ = self.up("-r", self.capture("one.pcap", 7))
        self.assertEqual(self.run_tapline("grab", "--count", "--data", self.data)[1:], ("7 packets\n", ""))
        self.assertEqual(self.interrupt(up), 0)
        code, out, message = self.run_tapline("grab", "--count", "--data", self.data)
        self.assertEqual((code, out), (0, "7 packets\n"))
        self.assertIn(f"no collector answers for {self.data}", message)
        self.assertIn(f"reading the files below {self.data}/archive", message)
        code, _, message = self.run_tapline("status", "--data", self.data)
        self.assertEqual(code, 1)
        self.assertIn(f"unix:{self.data}/run/collector.sock", message)

    def test_classic_pcap_of_two_link_types_is_refused_with_what_to_do_and_leaves_no_file(self):
        self.two_link_types()
        out = self.path("out.pcap")
        for place in (["--data", self.data], ["--archive", os.path.join(self.data, "archive")]):
            code, _, message = self.run_tapline("grab", "-F", "pcap", "-w", out, *place)
            self.assertEqual(code, 1, place)
            for word in ("ETHERNET", "RAW", "classic pcap file holds one", "leave out -F", "--source"):
                self.assertIn(word, message, place)
            self.assertFalse(os.path.exists(out), place)
            code, _, message = self.run_tapline("grab", "-F", "pcap", "-w", out, "--source", "one", *place)
            self.assertEqual((code, message), (0, f"tapline: 3 packets in {out}\n"), place)
            self.assertEqual(digests(out), digests(self.path("one.pcap")))
            os.remove(out)
        answer = bounded(["curl", "-s", "-w", " %{http_code}", "--unix-socket", f"{self.data}/run/collector.sock", "http://localhost/api/v1/packets?format=pcap"])
        self.assertIn("leave format out", answer)
        self.assertTrue(answer.endswith(" 400"), answer)

    def test_a_file_that_tcpdump_will_not_open_is_warned_of(self):
        self.two_link_types()
        out = self.path("out.pcapng")
        for place in (["--data", self.data], ["--archive", os.path.join(self.data, "archive")]):
            code, _, message = self.run_tapline("grab", "-w", out, *place)
            self.assertEqual(code, 0, message)
            self.assertRegex(message, r"several link types \(ETHERNET, RAW\): .*tcpdump does not.*--source")
            self.assertEqual(len(bounded(["tshark", "-r", out], 30, check=True).splitlines()), 5)
            self.assertNotEqual(subprocess.run(["tcpdump", "-nr", out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode, 0)
            self.assertEqual(self.run_tapline("grab", "-w", out, "--source", "two", *place)[2], f"tapline: 2 packets in {out}\n")
            self.assertEqual(len(bounded(["tcpdump", "-nr", out], check=True).splitlines()), 2)

    def test_a_capture_on_standard_input_is_archived(self):
        capture = self.capture("one.pcap", 50)
        with open(capture, "rb") as stdin:
            code, _, message = self.run_tapline("up", "-r", "-", "--once", "--data", self.data, stdin=stdin)
        self.assertEqual(code, 0, message)
        self.assertIn("reading standard input", message)
        grabbed = self.path("grabbed.pcapng")
        self.assertEqual(self.run_tapline("grab", "-w", grabbed, "--archive", os.path.join(self.data, "archive"))[0], 0)
        self.assertEqual(digests(grabbed), digests(capture))

    def test_a_pipe_that_goes_on_is_archived_as_it_comes_and_ends_with_up(self):
        read, write = os.pipe()
        self.addCleanup(os.close, write)
        up, _ = self.up("-r", "-", ready="reading standard input", stdin=read)
        os.close(read)
        os.write(write, header(ETHERNET) + record(1, ETHERNET) + record(2, ETHERNET))
        wait_for("a packet of the pipe", lambda: self.run_tapline("grab", "--count", "--data", self.data)[1] not in ("", "0 packets\n"))
        os.write(write, record(3, ETHERNET))
        time.sleep(0.5)
        self.assertEqual(self.interrupt(up), 0)
        self.assertEqual(self.run_tapline("grab", "--count", "--data", self.data)[1], "3 packets\n")

    @unittest.skipUnless(os.geteuid() == 0, "captures")
    def test_what_up_listens_on_because_the_configuration_says_so_is_not_captured(self):
        feed, api = free_port(), free_port()
        config = self.write("tapline.toml", f'[collector]\nfeed = ["tcp://127.0.0.1:{feed}"]\napi = ["127.0.0.1:{api}"]\n')
        self.up("--config", config, "-i", "lo", ready="tapline: capturing on lo")
        bounded(["ping", "-q", "-c", "1", "127.0.0.1"], check=True)
        socket.create_connection(("127.0.0.1", feed), 5).close()
        for _ in range(3):
            self.run_tapline("status", "--connect", f"http://127.0.0.1:{api}")
        count = lambda query: self.run_tapline("grab", "--count", query, "--data", self.data)[1]
        wait_for("the ping", lambda: count("icmp") not in ("", "0 packets\n"))
        time.sleep(0.5)
        self.assertEqual(count(f"tcp port {feed} or tcp port {api}"), "0 packets\n")

    def test_standard_input_is_read_once(self):
        code, _, message = self.run_tapline("up", "-r", "-", "-r", "-", "--data", self.data, stdin=subprocess.DEVNULL)
        self.assertEqual(code, 2)
        self.assertIn("standard input can be read once", message)

    def test_up_takes_from_the_configuration_what_others_need_and_names_what_it_does_not_use(self):
        feed, api = free_port(), free_port()
        config = self.write("tapline.toml", f'[probe]\ncollector = ["127.0.0.1:1"]\n[collector]\ndata = "{self.data}"\nfeed = ["tcp://127.0.0.1:{feed}"]\napi = ["127.0.0.1:{api}"]\n'
                            '[analyzer]\nstart = "now"\nstatus = "127.0.0.1:1"\n[console]\nlisten = ["127.0.0.1:0"]\n')
        up, log = self.start("up", "--config", config, "-r", self.capture("one.pcap", 2), ready="all files are archived",
                             env={**os.environ, "TAPLINE_ANALYZER_WORKERS": "1"})
        said = self.said(log)
        self.assertIn("not used of the configuration: probe.collector, analyzer.status\n", said)
        self.assertIn("the page is at http://127.0.0.1:", said)
        socket.create_connection(("127.0.0.1", feed), 5).close()
        self.assertEqual(self.run_tapline("grab", "--count", "--connect", f"http://127.0.0.1:{api}")[1], "2 packets\n")
        self.assertEqual(self.run_tapline("grab", "--count", "--config", config)[1:], ("2 packets\n", ""))
        self.assertNotIn("analyzer.start", bounded(["ps", "-ww", "-o", "args=", "--ppid", str(up.pid)]))


if __name__ == "__main__":
    unittest.main()
