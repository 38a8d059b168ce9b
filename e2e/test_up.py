"""`tapline up` as a user runs it: what it captures, whom it runs as, what it archives, how fast it can be grabbed."""
import os
import socket
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

from lab import Lab, LabError, Programs, bounded, wait_for
from witness import digests

BINARIES = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(os.path.dirname(__file__), "..", "target")), "release")
ROOT = os.geteuid() == 0


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as lines:
        return dict(line.rstrip("\n").split(":\t", 1) for line in lines if ":\t" in line)


def children_of(pid):
    """The programs that a supervisor runs: {name: pid}, with `tapline` told apart by its subcommand."""
    found = {}
    for line in bounded(["ps", "-o", "pid=,args=", "--ppid", str(pid)]).splitlines():
        number, arguments = line.split(None, 1)
        words = arguments.split()
        name = os.path.basename(words[0])
        found[words[1] if name == "tapline" else name] = int(number)
    return found


@unittest.skipUnless(ROOT, "needs root: it makes a network namespace and captures")
class Up(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        os.chmod(self.folder.name, 0o755)
        self.addCleanup(self.folder.cleanup)
        self.lab = Lab()
        self.addCleanup(self.lab.down)
        self.lab.up(servers=False)
        self.programs = Programs(os.path.abspath(BINARIES), self.folder.name)
        self.addCleanup(self.programs.kill)

    def ping(self, count=1):
        bounded(["ping", "-q", "-c", str(count), "-i", "0.2", "-W", "2", self.lab.peer], check=True)

    def test_nobody_but_the_probe_may_anything(self):
        up = self.programs.start_up("-i", self.lab.link)
        children = children_of(up.pid)
        self.assertEqual(sorted(children), ["analyzer", "collector", "console", "tapline-probe"])
        for name, pid in children.items():
            status = status_of(pid)
            with self.subTest(program=name):
                self.assertNotIn("0", status["Uid"].split(), "runs as root")
                self.assertNotIn("0", status["Gid"].split(), "runs in root's group")
                self.assertEqual(int(status["CapEff"], 16), 0, "has effective capabilities")
                self.assertEqual(int(status["CapPrm"], 16), 0, "could get capabilities back")
                self.assertEqual(status["NoNewPrivs"], "1")
                if name == "analyzer":
                    self.assertEqual(status["Seccomp"], "2", "no seccomp filter")
        # Who may open these sockets may read packets.
        for name in ("collector", "console"):
            self.assertEqual(os.stat(os.path.join(self.folder.name, "run", f"{name}.sock")).st_mode & 0o777, 0o660, name)

    def test_a_packet_can_be_grabbed_a_second_after_it_was_on_the_wire(self):
        self.programs.start_up("-i", self.lab.link)
        for round_number in range(1, 4):
            self.ping()
            time.sleep(1.0)
            count = int(self.programs.tapline("grab", "icmp", "--count").split()[0])
            self.assertEqual(count, 2 * round_number)

    def test_an_idle_machine_stays_idle(self):
        self.programs.start_up("-i", "any")
        time.sleep(1.0)
        before = self.captured()
        for _ in range(5):
            self.programs.tapline("status", "--balance")
            self.programs.tapline("sources")
        time.sleep(1.5)
        # Loopback of this machine may carry what others do; nothing of ours may be among it.
        ours = self.programs.tapline("grab", "--count", "tcp portrange 7710-7714")
        self.assertEqual(int(ours.split()[0]), 0)
        self.assertLessEqual(self.captured() - before, 20)

    def test_what_its_page_and_outputs_send_is_not_captured(self):
        """A page that is open and an index that is tried again and again, both over TCP on this machine."""
        with socket.create_server(("127.0.0.1", 0)) as index:
            port = index.getsockname()[1]
            index.settimeout(0.1)
            self.programs.start_up("-i", "any", "--console", "127.0.0.1:0", "--set", "analyzer.output.elasticsearch.enabled=true",
                                   "--set", f'analyzer.output.elasticsearch.hosts=["http://127.0.0.1:{port}"]')
            page = urllib.parse.urlsplit(self.programs.page())
            self.ping()
            asked = 0
            with urllib.request.urlopen(f"{page.geturl().rstrip('/')}/api/v1/overview/live", timeout=5) as live:
                until = time.monotonic() + 4
                while time.monotonic() < until:
                    live.readline()
                    try:
                        index.accept()[0].close()
                        asked += 1
                    except TimeoutError:
                        pass
            self.assertGreater(asked, 0, "nobody sent events to the index: this shows nothing")
            time.sleep(1.0)
            self.assertEqual(self.programs.tapline("grab", "--count", "icmp").split()[0], "2")
            ours = self.programs.tapline("grab", "--count", f"tcp port {port} or tcp port {page.port}")
            self.assertEqual(ours.split()[0], "0")

    def test_the_configuration_says_what_is_captured_and_whether_there_is_a_store(self):
        config = os.path.join(self.folder.name, "tapline.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f'[probe]\ninterfaces = ["{self.lab.link}"]\n[analyzer.output.store]\nenabled = false\n')
        self.programs.start_up("--config", config)
        self.assertIn(f"capturing on {self.lab.link};", self.programs.log_tail(10**6))
        self.ping()
        wait_for("an event", lambda: "events" in self.programs.tapline("status"))
        self.assertEqual([name for name in os.listdir(os.path.join(self.folder.name, "store")) if name.endswith(".sqlite")], [])

    def captured(self):
        return sum(row["captured_packets"] for row in self.programs.balance_rows())

    def test_names_times_and_bytes_survive_into_the_grabbed_file(self):
        self.programs.start_up("-i", self.lab.link)
        self.ping(3)
        time.sleep(1.0)
        path = os.path.join(self.folder.name, "grabbed.pcapng")
        self.programs.tapline("grab", "icmp", "--since", "-10m", "-w", path)
        names = set(bounded(["tshark", "-r", path, "-T", "fields", "-e", "frame.interface_name"], check=True).split())
        self.assertEqual(names, {self.lab.link})
        times = bounded(["tshark", "-r", path, "-T", "fields", "-e", "frame.time_epoch"], check=True).split()
        self.assertEqual(len(times), 6)
        self.assertTrue(any(not stamp.endswith("000") for stamp in times), f"no nanoseconds: {times}")
        self.assertEqual(len(bounded(["tcpdump", "-n", "-r", path], check=True).splitlines()), 6)

    def test_files_are_archived_and_analysed_once(self):
        capture = os.path.join(self.folder.name, "input.pcap")
        witness = self.lab.inside("tcpdump", "-i", self.lab.peer_link, "-U", "-w", capture, "--immediate-mode", "-Z", "root", "icmp")
        wait_for("tcpdump", lambda: os.path.exists(capture) and os.path.getsize(capture) >= 24)
        self.ping(5)
        wait_for("the packets in its file", lambda: os.path.getsize(capture) >= 24 + 10 * 114)
        witness.terminate()
        witness.wait(5)
        data = os.path.join(self.folder.name, "data")
        programs = Programs(os.path.abspath(BINARIES), data)
        bounded(programs.command("up", "-r", capture, "--once", "--data", data), 60, check=True)
        grabbed = os.path.join(self.folder.name, "grabbed.pcapng")
        bounded(programs.command("grab", "--archive", os.path.join(data, "archive"), "-w", grabbed), check=True)
        self.assertEqual(digests(grabbed), digests(capture))
        events = [event for event in programs.events() if event["type"] == "icmp" and event["icmp"]["version"] == 4]
        self.assertEqual([event["status"] for event in events], ["OK"] * 5)


class Mistakes(unittest.TestCase):
    """What a user gets wrong is answered with what, where and what to do."""

    def run_probe(self, *words):
        return self.run_program("tapline-probe", *words)

    def run_program(self, *words):
        import subprocess
        done = subprocess.run([os.path.join(BINARIES, words[0]), *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
        return done.returncode, done.stderr.decode()

    def test_a_missing_interface_names_those_that_exist(self):
        code, message = self.run_probe("-i", "nosuch0", "--collector", "unix:/nonexistent/uplink.sock")
        self.assertEqual(code, 1)
        self.assertIn("nosuch0", message)

    def test_a_wrong_filter_is_quoted(self):
        code, message = self.run_probe("-i", "lo", "-f", "prot udp", "--collector", "unix:/nonexistent/uplink.sock")
        self.assertEqual(code, 2, message)
        self.assertIn("prot udp", message)

    def test_an_unknown_key_names_file_line_and_the_nearest(self):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
            config.write("[collector]\n\ndata_directory = 1\nlisen = []\n")
            config.flush()
            code, message = self.run_program("tapline", "collector", "--config", config.name, "--check-config")
        self.assertEqual(code, 2)
        self.assertIn(":4:", message)
        self.assertIn("listen", message)
        self.assertIn("data_directory", message)

    def test_a_taken_port_is_named(self):
        with socket.socket() as taken, tempfile.TemporaryDirectory() as folder:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            os.chmod(folder, 0o777)
            config = os.path.join(folder, "tapline.toml")
            with open(config, "w", encoding="utf-8") as out:
                out.write(f'[collector]\ndata = "{folder}/data"\nlisten = ["127.0.0.1:{port}"]\napi = []\nfeed = []\n')
            code, message = self.run_program("tapline", "collector", "--config", config)
        self.assertEqual(code, 1)
        self.assertIn(str(port), message)

    def test_no_capture_file_is_an_error_and_a_cut_one_a_warning(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "no.pcap")
            with open(path, "wb") as out:
                out.write(b"this is no capture file at all, only text")
            code, message = self.run_program("tapline", "analyze", path)
            self.assertEqual(code, 1)
            self.assertIn("no.pcap", message)
            with open(path, "wb") as out:
                out.write(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000") + b"\0" * 10)
            code, message = self.run_program("tapline", "analyze", path)
            self.assertEqual(code, 0, message)
            self.assertIn("no.pcap", message)


if __name__ == "__main__":
    unittest.main()
