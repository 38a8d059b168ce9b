"""`--check-config` finds what a start would refuse, in the same words and with the same exit code; what only the system can tell is not its affair."""
import json
import os
import socket
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request

from lab import end, wait_for

BINARIES = os.path.abspath(os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(os.path.dirname(__file__), "..", "target")), "release"))
GOOD = "the configuration is good\n"
COMMANDS = {"collector": ["tapline", "collector"], "analyzer": ["tapline", "analyzer"], "console": ["tapline", "console"], "probe": ["tapline-probe"]}

# What is wrong, and words of the answer: the key, and what to do about it.
WRONG = {
    "collector": {
        'listen = ["0.0.0.0:7710"]': ["collector.listen", "collector.tls", "allow_plaintext"],
        'api = ["0.0.0.0:7713"]': ["collector.api", "127.0.0.1", "console.listen", "tapline keys token"],
        'feed = ["tcp://0.0.0.0:7711"]': ["collector.feed", "collector.curve"],
        'feed_v1 = ["tcp://*:7712"]': ["collector.feed_v1", "allow_plaintext"],
        'osmo_pcap.listen = ["unix:/run/x"]': ["collector.osmo_pcap.listen", "TCP"],
        'listen = ["unix:"]': ["collector.listen", "unix:PATH"],
        'user = "nosuchuser"': ["collector.user", "nosuchuser", "create it"],
        'tls.certificate = "/c.pem"': ["collector.tls.key", "is not set"],
        'tls = { certificate = "/no/c.pem", key = "/no/k.pem", ca = "/no/ca.pem" }': ["collector.tls.certificate", "/no/c.pem", "tapline keys collector"],
        'curve.allow = "/no/list"': ["collector.curve.keys", "tapline keys subscriber"],
        'segment_zone = "Mars"': ["collector.segment_zone", "Europe/Vienna"],
        'sources.gw.filter = "porrt 1"': ["collector.sources.gw", "porrt 1"],
        "connections = 0": ["collector.connections", "at least 1"],
        'hook = ["/no/such/program"]': ["collector.hook", "/no/such/program"],
    },
    "analyzer": {
        'status = "0.0.0.0:1"': ["analyzer.status", "127.0.0.1"],
        'status = "nonsense"': ["analyzer.status", "unix:PATH"],
        'collector = "nonsense"': ["analyzer.collector", "http://HOST:PORT"],
        'feed = ["tcp://x"]': ["analyzer.feed", "ipc://PATH"],
        'sources = ["a b"]': ["analyzer.sources", "a b"],
        'user = "nosuchuser"': ["analyzer.user", "nosuchuser"],
        'curve.keys = "/no/keys"': ["analyzer.curve.server", "is not set"],
        "output.ndjson.enabled = false": ["analyzer.output", "enabled = true"],
        'output.ndjson.rotate_zone = "Mars"': ["analyzer.output.ndjson", "rotate_zone", "Europe/Vienna"],
        "output.elasticsearch = { enabled = true, hosts = [] }": ["analyzer.output.elasticsearch", "hosts is empty"],
        'output.elasticsearch = { enabled = true, index = "My-Index" }': ["analyzer.output.elasticsearch", "My-Index", "lower-case"],
        'output.elasticsearch = { enabled = true, user = "u", password_file = "/no/file" }': ["analyzer.output.elasticsearch", "password_file", "/no/file"],
        'output.kafka = { enabled = true, topic = "a/b" }': ["analyzer.output.kafka", "a/b"],
        'output.kafka = { enabled = true, properties = { "lingre.ms" = "1" } }': ["analyzer.output.kafka", "lingre.ms"],
        'output.kafka = { enabled = true, properties = { "max.in.flight" = "10" } }': ["analyzer.output.kafka", "idempotence"],
        'output.redis = { enabled = true, hosts = [] }': ["analyzer.output.redis", "hosts is empty"],
        'internal_networks = ["x"]': ["analyzer.internal_networks"],
    },
    "console": {
        "listen = []": ["console.listen", "127.0.0.1:7714"],
        'listen = ["nonsense"]': ["console.listen", "unix:PATH"],
        'collector = "nonsense"': ["console.collector", "http://HOST:PORT"],
        'analyzer = "nonsense"': ["console.analyzer", "http://HOST:PORT"],
        'user = "nosuchuser"': ["console.user", "nosuchuser"],
        'hosts = ["http://x"]': ["console.hosts", "without scheme"],
    },
    "probe": {
        'name = "a b"': ["probe.name", "a b"],
        'user = "nosuchuser"': ["probe.user", "nosuchuser"],
        'collector = ["192.0.2.1:7710"]': ["probe.collector", "probe.tls", "allow_plaintext"],
        "collector = []": ["probe.collector", "--collector"],
        "interfaces = []": ["probe.interfaces", "-i"],
        'filter = "prot udp"': ["probe.filter", "prot udp"],
        'status = "0.0.0.0:1"': ["probe.status", "127.0.0.1"],
        'exclude = ["x"]': ["probe.exclude", "HOST:PORT"],
        'tls = { certificate = "/no/c.pem", key = "/no/k.pem", ca = "/no/ca.pem" }': ["probe.tls.ca", "/no/ca.pem", "tapline keys probe"],
    },
}


def run(program, *words):
    command = [os.path.join(BINARIES, COMMANDS[program][0]), *COMMANDS[program][1:], *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        self.addCleanup(folder.cleanup)
        os.chmod(folder.name, 0o755)
        self.folder, self.data = folder.name, os.path.join(folder.name, "data")

    def base(self, program):
        """A section in which nothing is wrong."""
        data = {"data": self.data}
        return {
            "collector": {**data, "listen": [f"unix:{self.data}/run/uplink.sock"], "api": ["unix:run/api.sock"], "feed": [f"ipc://{self.data}/run/feed"]},
            "analyzer": data,
            "console": {**data, "listen": ["unix:run/console.sock"]},
            "probe": {"interfaces": ["lo"], "collector": [f"unix:{self.data}/run/uplink.sock"]},
        }[program]

    def config(self, program, line=""):
        keys = [f"{key} = {json.dumps(value)}" for key, value in self.base(program).items() if key != line.split(" ")[0].split(".")[0]]
        path = os.path.join(self.folder, "tapline.toml")
        with open(path, "w", encoding="utf-8") as out:
            out.write("\n".join([f"[{program}]", line, *keys, ""]))
        return path


class Check(Case):
    def test_a_good_configuration_is_said_to_be_good_and_nothing_is_made(self):
        for program in COMMANDS:
            with self.subTest(program):
                self.assertEqual(run(program, "--config", self.config(program), "--check-config"), (0, GOOD, ""))
                self.assertFalse(os.path.exists(self.data))

    def test_the_check_refuses_what_the_start_refuses_in_the_same_words(self):
        for program, lines in WRONG.items():
            for line, words in lines.items():
                with self.subTest(program, line=line):
                    path = self.config(program, line)
                    code, out, said = run(program, "--config", path, "--check-config")
                    self.assertEqual((code, out), (2, ""), said)
                    self.assertEqual(len(said.splitlines()), 1, said)
                    self.assertTrue(said.startswith(f"{COMMANDS[program][0]}: {path}:2: ") or "is not set" in said or "is empty" in said, said)
                    for word in words:
                        self.assertIn(word, said)
                    self.assertEqual(run(program, "--config", path), (2, "", said))
                    self.assertFalse(os.path.exists(self.data), "a start that is refused makes nothing")

    def test_every_problem_is_told_at_once_with_its_line(self):
        path = self.config("collector", 'user = "nosuchuser"\ncommit = "50ms"\nsegment_zone = "Mars"')
        code, _, said = run("collector", "--config", path, "--check-config", "--set", 'collector.api=["x"]')
        self.assertEqual(code, 2)
        first, second, third = said.splitlines()
        self.assertIn(f"{path}:2: collector.user: ", first)
        self.assertIn(f"{path}:4: collector.segment_zone: ", second)
        self.assertIn('--set collector.api: "x"', third)

    def test_what_only_the_system_can_tell_is_a_failure_of_the_start(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            for program, line in (("collector", f'listen = ["{address}"]'), ("console", f'listen = ["{address}"]'), ("analyzer", f'status = "{address}"')):
                with self.subTest(program):
                    path = self.config(program, line)
                    self.assertEqual(run(program, "--config", path, "--check-config"), (0, GOOD, ""))
                    code, _, said = run(program, "--config", path)
                    self.assertEqual(code, 1, said)
                    self.assertIn(address, said)
                    self.assertIn("another program has it", said)
        path = self.config("analyzer", 'output.redis = { enabled = true, hosts = ["no.such.host.invalid"] }')
        self.assertEqual(run("analyzer", "--config", path, "--check-config"), (0, GOOD, ""))
        code, _, said = run("analyzer", "--config", path)
        self.assertEqual(code, 1, said)
        self.assertIn("no.such.host.invalid", said)

    def test_up_ends_as_the_program_that_refuses_its_configuration(self):
        path = self.config("analyzer", 'output.kafka = { enabled = true, topic = "a/b" }')
        command = [os.path.join(BINARIES, "tapline"), "up", "--data", self.data, "--config", path, "-i", "lo"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, 2, said)
        self.assertIn("topic = \"a/b\"", said)
        self.assertIn("the analyzer cannot run so; see its message above", said)
        capture = os.path.join(self.folder, "input.pcap")
        with open(capture, "wb") as out:
            out.write(bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000"))
        command = [os.path.join(BINARIES, "tapline"), "up", "--data", self.data, "-r", capture, "--once", "--set", "probe.compression_level=99"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
        said = done.stderr.decode()
        self.assertEqual(done.returncode, 2, said)
        self.assertIn("probe.compression_level: 99 ", said)
        self.assertIn("the probe cannot run so; see its message above", said)

    def test_the_doctor_looks_as_the_programs_do(self):
        path = self.config("analyzer", 'output.kafka = { enabled = true, topic = "a/b" }')
        done = subprocess.run([os.path.join(BINARIES, "tapline"), "doctor", "--data", self.folder, "--config", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("topic = \"a/b\"", done.stdout.decode())


class Setup(unittest.TestCase):
    def test_a_server_that_is_away_is_named_with_what_to_do(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
            for server in ("elasticsearch", "opensearch"):
                done = subprocess.run([os.path.join(BINARIES, "tapline"), "setup", server, "--set", f'analyzer.output.elasticsearch.hosts=["{url}"]'],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, check=False)
                said = done.stderr.decode()
                self.assertEqual(done.returncode, 1, said)
                for word in (url, "Connection refused", "is a server running there", "analyzer.output.elasticsearch.hosts"):
                    self.assertIn(word, said)


class Questions(Case):
    """What the collector's API answers to a question that it does not understand: what, where, and what to do."""

    def test_what_is_wrong_with_a_question_is_said(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        path = self.config("collector", f'api = ["127.0.0.1:{port}"]')
        command = [os.path.join(BINARIES, "tapline"), "collector", "--config", path, "--set", "collector.user=root"]
        with open(os.path.join(self.folder, "log"), "wb") as log:
            collector = subprocess.Popen(command, stdout=log, stderr=log)
        self.addCleanup(end, collector)
        url = f"http://127.0.0.1:{port}"

        def answers():
            try:
                return urllib.request.urlopen(f"{url}/healthz", timeout=5).status == 200
            except urllib.error.URLError:
                return False

        wait_for("the collector", answers)
        epoch = "0" * 32
        for method, question, status, error, hint in (
            ("GET", "/api/v1/packets?query=porrt", 400, "query: the filter `porrt`", "udp port 53"),
            ("GET", "/api/v1/packets?quer=icmp", 400, "there is no parameter `quer`", "did you mean `query`?"),
            ("GET", "/api/v1/packets?since=yesterday", 400, "since: ", "nanoseconds since 1970"),
            ("GET", "/api/v1/packets?source=a%20b", 400, "source: ", "/api/v1/sources"),
            ("GET", "/api/v1/packets?epoch=7", 400, "epoch: ", "/api/v1/balance"),
            ("GET", "/api/v1/packets?packets=4-9", 400, "packets: ", "source and its epoch"),
            ("GET", f"/api/v1/packets?source=x&epoch={epoch}&packets=9-4", 400, "packets: ", "numbers"),
            ("GET", "/api/v1/packets?format=erf", 400, "format: ", "format=pcapng"),
            ("GET", "/api/v1/live?since=1", 400, "live packets", "/api/v1/packets"),
            ("GET", "/api/v1/live?format=pcap", 400, "format: ", "leave format out"),
            ("GET", "/api/v1/batches?source=x", 400, "the parameter `epoch` is missing", "epoch="),
            ("GET", f"/api/v1/batches?source=x&epoch={epoch}&from=-1", 400, "from: ", "digits"),
            ("GET", "/api/v1/archive?step=0", 400, "step: ", "seconds"),
            ("POST", "/api/v1/pins?since=2&until=1", 400, "since: ", "exchange"),
            ("DELETE", "/api/v1/pins/x", 400, '"x" is no number', "/api/v1/pins"),
            ("DELETE", "/api/v1/pins/7", 404, "no pin 7", "/api/v1/pins"),
            ("POST", "/api/v1/rotate?source=a%20b", 400, "source: ", "/api/v1/sources"),
            ("POST", "/api/v1/status", 405, "POST cannot be done to /api/v1/status", "docs/collector.md"),
            ("GET", "/api/v2/status", 404, "nothing at /api/v2/status", "docs/collector.md"),
        ):
            with self.subTest(f"{method} {question}"):
                with self.assertRaises(urllib.error.HTTPError) as refused:
                    urllib.request.urlopen(urllib.request.Request(url + question, method=method), timeout=10)
                with refused.exception as answer:
                    self.assertEqual(answer.code, status)
                    said = json.load(answer)
                self.assertIn(error, said["error"])
                self.assertIn(hint, said["hint"])


if __name__ == "__main__":
    unittest.main()
