"""Events in a real Elasticsearch and OpenSearch: every one there, none twice, whatever is killed, full or refused."""
import glob
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import certificates
import lookups
from lab import LabError, bounded, end, wait_for
from search import SERVERS, Search, free_port, missing

HERE = os.path.dirname(os.path.abspath(__file__))
BINARIES = os.path.abspath(os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "..", "target")), "release"))
TAPLINE = os.path.join(BINARIES, "tapline")
FIXTURES = sorted(glob.glob(os.path.join(HERE, "..", "crates", "decode", "src", "protocols", "*", "fixtures", "*.pcap*")))


def output(url, **more):
    """Settings of the output as arguments."""
    values = {"enabled": True, "hosts": [url], "bulk.time": "200ms", **more}
    return [word for key, value in values.items() for word in ("--set", f"analyzer.output.elasticsearch.{key}={json.dumps(value)}")]


class Chain:
    """Probe, collector and analyzer on a data directory; each can be killed and started again."""

    def __init__(self, case):
        folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        case.addCleanup(folder.cleanup)
        os.chmod(folder.name, 0o755)
        self.data = os.path.join(folder.name, "data")
        self.processes = {}
        case.addCleanup(lambda: [end(process) for process in self.processes.values()])

    def up(self, captures, *words):
        """All three; waits until everything was decoded."""
        self.start("up", TAPLINE, "up", "--data", self.data, "--console", "none", *(word for path in captures for word in ("-r", path)), *words)

    def start(self, name, *command):
        os.makedirs(self.data, exist_ok=True)
        with open(os.path.join(os.path.dirname(self.data), f"{name}.log"), "ab") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def log(self, name="up"):
        with open(os.path.join(os.path.dirname(self.data), f"{name}.log"), encoding="utf-8", errors="replace") as log:
            text = log.read()
        if self.processes[name].poll() is not None:
            raise LabError(f"{name} ended: {text[-1000:]}")
        return text

    def start_parts(self, *words):
        """Collector and analyzer; `analyzer` can be killed by itself."""
        self.settings = ["--set", f'analyzer.data="{self.data}"', "--set", 'analyzer.start="oldest"', "--set", "analyzer.output.ndjson.enabled=true",
                         "--set", 'analyzer.user="root"', *words]
        self.uplink = os.path.join(self.data, "uplink.sock")
        self.start("collector", TAPLINE, "collector", "--set", f'collector.data="{self.data}"', "--set", f'collector.listen=["unix:{self.uplink}"]',
                   "--set", f'collector.api=["unix:{self.data}/run/collector.sock"]', "--set", f'collector.feed=["ipc://{self.data}/run/feed"]',
                   "--set", 'collector.user="root"')
        wait_for("the collector", lambda: os.path.exists(f"{self.data}/run/collector.sock") and os.path.exists(self.uplink))
        os.chmod(self.uplink, 0o777)
        self.start_analyzer()

    def start_analyzer(self):
        self.start("analyzer", TAPLINE, "analyzer", *self.settings)

    def kill_analyzer(self):
        self.processes["analyzer"].send_signal(signal.SIGKILL)
        self.processes["analyzer"].wait()

    def capture(self, path, name):
        """Sends a capture file's packets to the collector, all of them."""
        bounded([os.path.join(BINARIES, "tapline-probe"), "-r", path, "--name", name, "--collector", f"unix:{self.uplink}"], 60, check=True)

    def status(self):
        """The outputs' counters; None while the analyzer does not answer."""
        text = bounded(["curl", "-s", "--max-time", "2", "--unix-socket", f"{self.data}/run/analyzer.sock", "http://analyzer/status"])
        return json.loads(text)["outputs"] if text else None

    def events(self):
        """What the analyzer wrote to files: an event by id."""
        found = {}
        for path in glob.glob(os.path.join(self.data, "events", "*.ndjson")):
            with open(path, encoding="utf-8") as lines:
                for line in lines:
                    if line.endswith("\n"):
                        event = json.loads(line)
                        found[event["_id"]] = event
        return found

    def letters(self):
        """The dead letters."""
        paths = glob.glob(os.path.join(self.data, "output", "elasticsearch", "dead-letters", "*"))
        letters = []
        for path in paths:
            with open(path, encoding="utf-8") as lines:
                letters.extend(json.loads(line) for line in lines)
        return paths, letters


def wait(chain, what, condition, seconds=30, log="up"):
    """Waits; what the analyzer says of itself stands in the error."""
    try:
        return wait_for(what, condition, seconds)
    except LabError as error:
        letters = chain.letters()[1][:2]
        raise LabError(f"{error}\n{chain.status()}\n{chain.log(log)[-1500:]}\n{letters}") from None


class Servers(unittest.TestCase):
    def setUp(self):
        self.servers = []
        self.addCleanup(lambda: [server.end() for server in self.servers])

    def server(self, name, *settings):
        why = missing(name)
        if why:
            print(f"\nskipped: {why}")
            self.skipTest(why)
        server = Search(name)
        self.servers.append(server)
        return server.start(*settings)

    def same(self, server, chain, but=0):
        """The server has exactly the events that the files have."""
        ids = server.ids()
        events = chain.events()
        self.assertEqual(len(ids), len(set(ids)), "an event is there twice")
        self.assertEqual(set(ids) - set(events), set(), "an event came out of nowhere")
        self.assertEqual(len(set(events) - set(ids)), but, "events are missing")
        return len(ids)


class EveryDataset(Servers):
    """One mapping fits every server: all fields of every type of event, with nothing mapped on the fly."""

    def check(self, name):
        server = self.server(name)
        said = bounded([TAPLINE, "setup", server.script, *output(server.url, dynamic="strict")], check=True)
        self.assertIn("/_index_template/tapline was installed", said)
        said = bounded([TAPLINE, "setup", server.script, *output(server.url, dynamic="strict")], check=True)
        self.assertEqual(said.count("is up to date"), 2, said)
        said = bounded([TAPLINE, "setup", server.script, *output(server.url)], check=True)
        self.assertIn("/_component_template/tapline-mappings of Tapline", said)
        chain = Chain(self)
        chain.up(FIXTURES, "--set", "analyzer.protocols.http.send_all_headers=true", *output(server.url, dynamic="strict"))
        wait_for("all files to be decoded", lambda: chain.log().count("decoded to its end") >= 1 and "all files are archived" in chain.log(), 30)
        wait(chain, "all events to be sent", lambda: self.sent(chain), 30)
        self.assertEqual(chain.letters()[1], [])
        count = self.same(server, chain)
        types = {event["type"] for event in chain.events().values()}
        self.assertLessEqual({"dns", "http", "icmp", "sip", "rtp", "flow", "call"}, types)
        # The mapping does what it is for: addresses by network, times by range, numbers by size.
        for query in ({"term": {"client.ip": "0.0.0.0/0"}}, {"range": {"@timestamp": {"gte": "2000-01-01"}}}, {"range": {"event.duration": {"gte": 0}}},
                      {"term": {"type": "dns"}}):
            found = server.ask("POST", "/tapline-*/_search", {"query": query, "size": 0, "track_total_hits": True})["hits"]["total"]["value"]
            self.assertGreater(found, 0, query)
        print(f"\n  {server.name}: {count} events of {len(types)} types")

    def sent(self, chain):
        status = chain.status()
        return status and status["elasticsearch"]["events_written"] == status["ndjson"]["events_written"] > 0 and not status["elasticsearch"]["spilled_events"]

    def test_elasticsearch_8(self):
        self.check("elasticsearch-8")

    def test_elasticsearch_9(self):
        self.check("elasticsearch-9")

    def test_opensearch_2(self):
        self.check("opensearch-2")

    def test_opensearch_3(self):
        self.check("opensearch-3")


class Trouble(Servers):
    COUNT = int(os.environ.get("TAPLINE_EVENTS", "12000"))
    AWAY = float(os.environ.get("TAPLINE_AWAY", "4"))

    def captured(self, chain, *numbers):
        for number in numbers:
            path = os.path.join(os.path.dirname(chain.data), f"{number}.pcap")
            lookups.write(path, self.COUNT, first=number * self.COUNT)
            chain.capture(path, f"source{number}")
            os.remove(path)

    def caught_up(self, chain, seconds=90):
        def done():
            status = chain.status()
            return (status and sum(status["elasticsearch"][name] for name in ("events_written", "events_known", "events_refused")) > 0 and
                    not any(output["batches_queued"] for output in status.values()) and
                    not any(status["elasticsearch"][name] for name in ("spilled_events", "held_events", "failing")) and self.quiet(chain))

        wait(chain, "everything to be sent", done, seconds, "analyzer")
        # What is on its way in a last bulk.
        time.sleep(1)

    def quiet(self, chain):
        size = sum(os.path.getsize(path) for path in glob.glob(os.path.join(chain.data, "events", "*")))
        was, self.size = getattr(self, "size", None), size
        time.sleep(1)
        return was == size

    def test_server_and_analyzer_are_killed(self):
        """The server is killed with -9 in the middle and is away for a while; the analyzer is killed with -9 meanwhile, twice."""
        server = self.server("elasticsearch-8")
        chain = Chain(self)
        chain.start_parts(*output(server.url))
        self.captured(chain, 0)
        wait_for("some events", lambda: (chain.status() or {}).get("elasticsearch", {}).get("events_written", 0) > 0)
        server.kill()
        self.captured(chain, 1)
        time.sleep(self.AWAY / 2)
        chain.kill_analyzer()
        chain.start_analyzer()
        self.captured(chain, 2)
        time.sleep(self.AWAY / 2)
        chain.kill_analyzer()
        server.start()
        chain.start_analyzer()
        self.caught_up(chain)
        events = chain.events().values()
        names = {event["dns"]["question"]["name"] for event in events if event["type"] == "dns"}
        missing = sorted({lookups.NAME.format(number) for number in range(3 * self.COUNT)} - names)
        self.assertEqual(missing[:3] + missing[-3:], [], f"{len(missing)} of {3 * self.COUNT} lookups have no event\n{chain.log('analyzer')}")
        count = self.same(server, chain)
        print(f"\n  {count} events, each once")

    def test_busy_read_only_and_conflicting(self):
        """A server whose queue is full, an index that is read-only for a while, and one whose mapping does not fit."""
        self.COUNT = self.COUNT // 3
        server = self.server("elasticsearch-8", "thread_pool.write.queue_size=1", "thread_pool.write.size=1", "indexing_pressure.memory.limit=256kb")
        day = time.strftime("%Y.%m.%d", time.gmtime(lookups.START))
        server.ask("PUT", f"/tapline-dns-{day}", {"mappings": {"properties": {"dns": {"properties": {"id": {"type": "boolean"}}}}}})
        server.ask("PUT", f"/tapline-flow-{day}", {"settings": {"index.blocks.write": True}})
        chain = Chain(self)
        chain.start_parts(*output(server.url, **{"bulk.size": "400kB"}))
        self.captured(chain, 0)
        wait(chain, "the block to be noticed", lambda: "cluster_block_exception" in chain.log("analyzer"), 30, "analyzer")
        time.sleep(1)
        server.ask("PUT", f"/tapline-flow-{day}/_settings", {"index.blocks.write": False})
        self.caught_up(chain)
        dns = sum(1 for event in chain.events().values() if event["type"] == "dns")
        self.assertEqual(dns, self.COUNT)
        status = chain.status()["elasticsearch"]
        self.assertEqual((status["events_refused"], status["events_dropped"]), (dns, 0))
        self.assertGreater(status["events_retried"], 0)
        self.same(server, chain, but=dns)
        paths, letters = chain.letters()
        self.assertEqual(len({letter["event"]["_id"] for letter in letters}), dns)
        self.assertEqual({letter["status"] for letter in letters}, {400})
        self.assertTrue(all("boolean" in letter["reason"] for letter in letters[:50]), letters[0]["reason"])
        # The cause is mended, and what was refused is brought back.
        server.ask("DELETE", f"/tapline-dns-{day}")
        retry = [TAPLINE, "output", "retry", *paths, *output(server.url)]
        said = bounded(retry, 120, check=True)
        self.assertIn(f"{dns} taken, 0 were there already, 0 left", said)
        self.assertFalse(os.path.exists(paths[0]))
        self.same(server, chain)

    def test_one_index_takes_nothing(self):
        """One index is read-only and then closed: the events of the others arrive meanwhile, its own wait on disk, also through kill -9, and arrive by
        themselves, each once."""
        server = self.server("elasticsearch-8")
        self.COUNT = self.COUNT // 4
        day = time.strftime("%Y.%m.%d", time.gmtime(lookups.START))
        flows = f"tapline-flow-{day}"
        server.ask("PUT", f"/{flows}", {"settings": {"index.blocks.write": True}})
        chain = Chain(self)
        chain.start_parts(*output(server.url))
        now = lambda name: (chain.status() or {}).get("elasticsearch", {}).get(name, 0)

        def all_else(count):
            try:
                return now("held_events") >= count and server.count("tapline-dns-*") == count
            except AssertionError:
                # The index is being made.
                return False

        self.captured(chain, 0)
        wait(chain, "all but the flows to arrive", lambda: all_else(self.COUNT), 30, "analyzer")
        self.assertEqual((server.count(flows), now("failing"), now("spilled_events")), (0, False, 0))
        # The position moves on, for what is held is on disk: a killed analyzer does not decode it again.
        time.sleep(3)
        chain.kill_analyzer()
        server.ask("POST", f"/{flows}/_close")
        chain.start_analyzer()
        self.captured(chain, 1)
        wait(chain, "all but the flows to arrive", lambda: all_else(2 * self.COUNT), 30, "analyzer")
        self.assertLess(now("events_received"), 2.5 * self.COUNT)
        self.assertEqual((now("failing"), now("events_refused"), now("events_dropped")), (False, 0, 0))
        chain.kill_analyzer()
        chain.start_analyzer()
        server.ask("POST", f"/{flows}/_open")
        server.ask("PUT", f"/{flows}/_settings", {"index.blocks.write": False})
        self.caught_up(chain)
        count = self.same(server, chain)
        self.assertEqual(os.listdir(os.path.join(chain.data, "output", "elasticsearch", "held")), [])
        self.assertEqual(chain.log("analyzer").count("it takes no events for now"), 1, "said once")
        print(f"\n  {count} events, each once; {server.count(flows)} of them were held")

    def test_data_streams(self):
        server = self.server("opensearch-2")
        chain = Chain(self)
        chain.up(FIXTURES[:3], *output(server.url, data_stream=True, namespace="test"))
        wait(chain, "all events to be sent", lambda: EveryDataset.sent(self, chain), 30)
        self.assertEqual(sorted(server.ids("logs-tapline.*")), sorted(chain.events()))
        document = server.ask("POST", "/logs-tapline.dns-test/_search", {"size": 1})["hits"]["hits"][0]["_source"]
        self.assertEqual(document["data_stream"], {"type": "logs", "dataset": "tapline.dns", "namespace": "test"})


class Guarded(Servers):
    """Behind a real nginx that asks for TLS, a client certificate, a password and a path."""

    def test_tls_password_prefix_and_two_nodes(self):
        if not shutil.which("nginx") or not shutil.which("openssl"):
            self.skipTest("nginx and openssl are not installed")
        server = self.server("elasticsearch-8")
        folder = tempfile.mkdtemp(prefix="tapline-nginx-")
        self.addCleanup(bounded, ["rm", "-rf", folder])
        os.chmod(folder, 0o755)
        openssl = lambda *words: bounded(["openssl", *words], check=True)
        path = lambda name: os.path.join(folder, name)
        certificates.authority(folder)
        for name in ("server", "client"):
            certificates.issue(folder, name)
        with open(path("passwords"), "w", encoding="utf-8") as out:
            out.write("tapline:" + openssl("passwd", "-apr1", "secret word"))
        with open(path("secret"), "w", encoding="utf-8") as out:
            out.write("secret word\n")
        port = free_port()
        with open(path("nginx.conf"), "w", encoding="utf-8") as out:
            out.write(f"""daemon off; pid {path('pid')}; error_log {path('error.log')}; user root;
events {{}}
http {{ access_log {path('access.log')}; client_max_body_size 300k; client_body_temp_path {path('body')}; proxy_temp_path {path('proxy')};
  server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {path('server.pem')}; ssl_certificate_key {path('server.key')};
    ssl_client_certificate {path('ca.pem')}; ssl_verify_client on; auth_basic "x"; auth_basic_user_file {path('passwords')};
    location /search/here/ {{ proxy_pass {server.url}/; }} }} }}
""")
        nginx = subprocess.Popen(["nginx", "-p", folder, "-c", path("nginx.conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(end, nginx)
        wait_for("nginx", lambda: os.path.exists(path("pid")))
        nodes = [f"https://localhost:{port}/search/here", f"https://localhost:{free_port()}/search/here"]
        guarded = {"hosts": nodes, "user": "tapline", "password_file": path("secret"), "tls.ca": path("ca.pem")}
        # Without the client certificate nginx says 400, and nothing is lost or put aside; with it everything goes through.
        refused = subprocess.run([TAPLINE, "setup", "elasticsearch", *output("", **guarded)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(b"400", refused.stderr)
        guarded |= {"tls.certificate": path("client.pem"), "tls.key": path("client.key"), "compression": 0}
        chain = Chain(self)
        capture = path("lookups.pcap")
        lookups.write(capture, 5_000)
        chain.up([capture], *output("", **guarded))
        wait(chain, "all events to be sent", lambda: EveryDataset.sent(self, chain), 60)
        self.same(server, chain)
        with open(path("access.log"), encoding="utf-8") as log:
            self.assertIn(" 413 ", log.read(), "a bulk was too large for the proxy and was sent in parts")


    def test_a_proxy_on_the_way(self):
        if not shutil.which("tinyproxy"):
            self.skipTest("tinyproxy is not installed")
        server = self.server("opensearch-2")
        folder = tempfile.mkdtemp(prefix="tapline-proxy-")
        self.addCleanup(bounded, ["rm", "-rf", folder])
        port, log = free_port(), os.path.join(folder, "log")
        with open(os.path.join(folder, "conf"), "w", encoding="utf-8") as out:
            out.write(f'Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nBasicAuth tapline secret\nConnectPort {server.port}\nLogFile "{log}"\nLogLevel Connect\n')
        proxy = subprocess.Popen(["tinyproxy", "-d", "-c", os.path.join(folder, "conf")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(end, proxy)
        wait_for("the proxy", lambda: os.path.exists(log))
        chain = Chain(self)
        chain.up(FIXTURES[:2], *output(server.url, proxy=f"http://tapline:secret@127.0.0.1:{port}"))
        wait(chain, "all events to be sent", lambda: EveryDataset.sent(self, chain), 30)
        self.same(server, chain)
        with open(log, encoding="utf-8") as lines:
            self.assertIn(f"127.0.0.1:{server.port}", lines.read(), "it went through the proxy")


if __name__ == "__main__":
    unittest.main()
