"""The dashboards: current, of fields and metrics that exist, and every panel's question answered by real servers. Nothing here has seen Kibana or Grafana."""
import contextlib
import http.server
import importlib.util
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest
import urllib.error
import urllib.parse
import urllib.request

from lab import Lab, Programs, bounded, end, wait_for
from search import Search, free_port, missing
# Its tests are not to run here once more, so no test case is imported by name.
import test_search
from test_search import BINARIES, FIXTURES, HERE, TAPLINE, Chain, output

FOLDER = os.path.abspath(os.path.join(HERE, "..", "packaging", "dashboards"))
ROOT = os.geteuid() == 0
TERMS = {"keyword", "ip", "long", "boolean"}
NUMBERS = {"long", "double"}
FITTING = {"terms": TERMS, "cardinality": TERMS, "sum": NUMBERS, "avg": NUMBERS, "min": NUMBERS, "max": NUMBERS, "percentiles": NUMBERS, "date_histogram": {"date_nanos"}}
# What the panels' questions are asked about.
SINCE, UNTIL = "2020-01-01T00:00:00.000Z", "2040-01-01T00:00:00.000Z"
SINCE_MS, UNTIL_MS = 1_577_836_800_000, 2_208_988_800_000
CALL = os.path.join(HERE, "..", "crates", "decode", "src", "protocols", "sip", "fixtures", "call.pcap")
# More servers: TAPLINE_SERVERS="elasticsearch-9 opensearch-3".
NAMES = os.environ.get("TAPLINE_SERVERS", "elasticsearch-8 opensearch-2").split()
# Rates are over this many seconds, of one scrape each.
SECONDS = 5


def generator():
    """packaging/dashboards/generate.py as a module."""
    was = sys.dont_write_bytecode
    sys.path.insert(0, FOLDER)
    sys.dont_write_bytecode = True
    try:
        spec = importlib.util.spec_from_file_location("generate", os.path.join(FOLDER, "generate.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(FOLDER)
        sys.dont_write_bytecode = was


def objects(name):
    with open(os.path.join(FOLDER, f"{name}.ndjson"), encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def grafana(name):
    """The panels of a dashboard, those in closed rows too, with the row's title."""
    with open(os.path.join(FOLDER, f"grafana-{name}.json"), encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    title = ""
    for panel in panels:
        if panel["type"] == "row":
            title = panel["title"]
            yield from ((title, inner) for inner in panel["panels"])
        else:
            yield title, panel


class Question:
    """What a panel asks: a query, and aggregations from the outermost to the innermost, with the metrics of each level."""

    def __init__(self, title, query, buckets, metrics, time_range):
        self.title, self.query, self.buckets, self.metrics, self.time_range = title, query, buckets, metrics, time_range

    def fields(self):
        """(field, aggregation) of all."""
        return [(body["field"], kind) for kind, body in self.buckets + list(self.metrics.values())]

    def queried(self):
        """Fields that the query names."""
        return re.findall(r"([a-z_][a-z_.]*):", self.query)

    def body(self):
        metrics = {name: {kind: body} for name, (kind, body) in self.metrics.items()}
        aggs = metrics
        for number, (kind, body) in reversed(list(enumerate(self.buckets))):
            aggs = {**metrics, f"b{number}": {kind: body, "aggs": aggs}}
        filters = [{"query_string": {"query": self.query, "analyze_wildcard": True}}, {"range": {"@timestamp": self.time_range}}]
        return {"size": 0, "track_total_hits": True, "query": {"bool": {"filter": filters}}, "aggs": aggs}

    def held(self, answer):
        """For each figure that is shown, how many of the innermost buckets hold something of it; a sum of nothing is 0 and holds nothing."""
        def holds(level, name, kind):
            if kind == "count":
                return level["doc_count"] > 0
            values = level[name].get("values", [level[name]])
            values = [value["value"] for value in values] if isinstance(values, list) else values.values()
            return any(value is not None and (value or kind not in ("sum", "cardinality")) for value in values)

        levels = [{**answer.get("aggregations", {}), "doc_count": answer["hits"]["total"]["value"]}]
        for number in range(len(self.buckets)):
            levels = [bucket for level in levels for bucket in level[f"b{number}"]["buckets"]]
        figures = {name: kind for name, (kind, _) in self.metrics.items()} or {"": "count"}
        return {f"{kind} {name}": sum(holds(level, name, kind) for level in levels) for name, kind in figures.items()}


def order(by, direction, metrics):
    """Both products call the count by its number or its name."""
    return {by if by in metrics or by.startswith("_") else "_count": direction}


def from_visualization(saved):
    """What Kibana and OpenSearch Dashboards make of a visualization."""
    attributes = saved["attributes"]
    state = json.loads(attributes["visState"])
    query = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]
    assert query["language"] == "lucene"
    buckets, metrics = [], {}
    for part in state["aggs"]:
        params, kind = part["params"], part["type"]
        if part["schema"] == "metric":
            if kind != "count":
                percents = {"percents": params["percents"], "keyed": False} if kind == "percentiles" else {}
                metrics[part["id"]] = (kind, {"field": params["field"], **percents})
        elif kind == "terms":
            buckets.append((kind, {"field": params["field"], "size": params["size"], "order": order(params["orderBy"], params["order"], metrics)}))
        elif kind == "date_histogram":
            buckets.append((kind, {"field": params["field"], "fixed_interval": "1m", "time_zone": "UTC", "min_doc_count": params["min_doc_count"]}))
        else:
            raise AssertionError(f"an aggregation that nobody knows: {kind}")
    title = attributes["title"].removeprefix("Tapline: ")
    time_range = {"format": "strict_date_optional_time", "gte": SINCE, "lte": UNTIL}
    return Question(title[0].upper() + title[1:], query["query"], buckets, metrics, time_range)


def from_grafana(row, panel, target):
    """What Grafana's Elasticsearch data source makes of one question of a panel. `auto` is a month here, so that twenty years are few intervals."""
    buckets, metrics = [], {part["id"]: (part["type"], {"field": part["field"], **part["settings"]}) for part in target["metrics"] if part["type"] != "count"}
    for part in target["bucketAggs"]:
        settings, kind = part["settings"], part["type"]
        least = {"field": part["field"], "min_doc_count": int(settings["min_doc_count"])}
        if kind == "terms":
            buckets.append((kind, {**least, "size": int(settings["size"]), "order": order(settings["orderBy"], settings["order"], metrics)}))
        elif kind == "date_histogram":
            interval = "30d" if settings["interval"] == "auto" else settings["interval"]
            buckets.append((kind, {**least, "fixed_interval": interval, "format": "epoch_millis", "extended_bounds": {"min": SINCE_MS, "max": UNTIL_MS}}))
        else:
            raise AssertionError(f"an aggregation that nobody knows: {kind}")
    time_range = {"format": "epoch_millis", "gte": SINCE_MS, "lte": UNTIL_MS}
    return Question(f"{row}: {panel['title']}", target["query"], buckets, metrics, time_range)


def questions(product):
    if product == "grafana":
        return [from_grafana(row, panel, target) for row, panel in grafana("events") for target in panel["targets"]]
    return [from_visualization(saved) for saved in objects(product) if saved["type"] == "visualization"]


def documented():
    """The fields of docs/events.md with their types."""
    with open(os.path.join(HERE, "..", "docs", "events.md"), encoding="utf-8") as lines:
        return dict(re.findall(r"^\| `([^`]+)` \| ([^|]+?) \|", lines.read(), re.M))


def mapped():
    """The fields of the mapping that `tapline setup` installs, with their types."""
    text = bounded([TAPLINE, "setup", "elasticsearch", "--print"], check=True)
    start = text.index("{", text.index("PUT _component_template"))
    body, _ = json.JSONDecoder().raw_decode(text[start:])
    found = {}

    def walk(properties, path):
        for name, field in properties.items():
            if "properties" in field:
                walk(field["properties"], f"{path}{name}.")
            if "type" in field:
                found[path + name] = field["type"]

    walk(body["template"]["mappings"]["properties"], "")
    return found


class Files(unittest.TestCase):
    def test_files_are_what_the_generator_gives(self):
        self.assertEqual(generator().stale(), [], "run packaging/dashboards/generate.py")

    def test_every_field_exists_and_fits(self):
        reference, mapping = documented(), mapped()
        for product in ("kibana", "opensearch", "grafana"):
            asked = questions(product)
            self.assertGreater(len(asked), 60)
            for question in asked:
                for field, aggregation in question.fields() + [(name, None) for name in question.queried()]:
                    with self.subTest(product=product, panel=question.title, field=field):
                        # Those of calls come from the analyzer's table, not from a decoder's, and are only in the mapping.
                        if not field.startswith("call."):
                            self.assertIn(field, reference)
                            self.assertEqual(reference[field], mapping[field])
                        self.assertIn(field, mapping)
                        if aggregation:
                            self.assertIn(mapping[field], FITTING[aggregation])

    def test_the_products_ask_the_same(self):
        """Every panel is there for each, with the same query, fields and figures."""
        def asked(product):
            found = {}
            for question in questions(product):
                time_only = [("@timestamp", "date_histogram")]
                found.setdefault((question.title, question.query), []).extend(pair for pair in question.fields() if pair not in time_only)
            return found

        kibana = asked("kibana")
        self.assertEqual(kibana, asked("opensearch"))
        same = lambda fields: {title: sorted(set(pairs)) for title, pairs in fields.items()}
        self.assertEqual(same(kibana), same(asked("grafana")))

    def test_saved_objects_hang_together(self):
        for product in ("kibana", "opensearch"):
            saved = objects(product)
            ids = {(one["type"], one["id"]) for one in saved}
            self.assertEqual(len(ids), len(saved), "an id is there twice")
            self.assertEqual(sorted(one["id"] for one in saved if one["type"] == "dashboard"), sorted(f"tapline-{name}" for name in ("overview", "flows", "dns", "http", "voice")))
            for one in saved:
                for reference in one["references"]:
                    self.assertIn((reference["type"], reference["id"]), ids)
                if one["type"] == "visualization":
                    self.assert_visualization(one)
                elif one["type"] == "dashboard":
                    self.assert_dashboard(one)
            shown = {reference["id"] for one in saved if one["type"] == "dashboard" for reference in one["references"]}
            self.assertEqual(shown, {one["id"] for one in saved if one["type"] == "visualization"}, "a visualization stands nowhere")

    def assert_visualization(self, one):
        state = json.loads(one["attributes"]["visState"])
        parts = {part["id"]: part for part in state["aggs"]}
        self.assertEqual(len(parts), len(state["aggs"]))
        for series in state["params"].get("seriesParams", ()):
            self.assertEqual(parts[series["data"]["id"]]["schema"], "metric")
        named = json.loads(one["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])["indexRefName"]
        self.assertEqual([(reference["name"], reference["type"]) for reference in one["references"]], [(named, "index-pattern")])

    def assert_dashboard(self, one):
        names = {reference["name"].split(":")[-1] for reference in one["references"]}
        taken = set()
        for shown in json.loads(one["attributes"]["panelsJSON"]):
            self.assertIn(shown["panelRefName"], names)
            place = shown["gridData"]
            self.assertLessEqual(place["x"] + place["w"], 48)
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & taken, f"{one['id']}: {shown['title']} lies over another")
            taken |= cells

    def test_grafana_dashboards_hang_together(self):
        for name in ("events", "metrics"):
            shown = list(grafana(name))
            ids = [panel["id"] for _, panel in shown]
            self.assertEqual(len(ids), len(set(ids)))
            for row, panel in shown:
                with self.subTest(row=row, panel=panel["title"]):
                    self.assertEqual(panel["datasource"]["uid"], "${datasource}")
                    self.assertLessEqual(panel["gridPos"]["x"] + panel["gridPos"]["w"], 24)


def spoilt_calls(folder):
    """Captures of calls that went wrong, each a day after the other, made of a fixture: bad audio, a refusal, a message cut by the snapshot length."""
    with open(CALL, "rb") as file:
        head, packets = file.read(24), []
        while record := file.read(16):
            seconds, fraction, captured, length = struct.unpack("<4I", record)
            packets.append((seconds, fraction, length, file.read(captured)))
    is_sip = lambda data: b"SIP/2.0" in data
    spoilt = [
        # A header that the fixture lacks, of the length of one that nothing needs.
        [(*packet[:3], packet[3].replace(b"Max-Forwards: 70", b"User-Agent: test")) for number, packet in enumerate(packets) if is_sip(packet[3]) or number % 3],
        [(*packet[:3], packet[3].replace(b"SIP/2.0 200 OK", b"SIP/2.0 404 OK")) for packet in packets if is_sip(packet[3])],
        [(*packet[:3], packet[3][:300]) for packet in packets if is_sip(packet[3])],
    ]
    for day, kept in enumerate(spoilt, 1):
        path = os.path.join(folder, f"{day}.pcap")
        with open(path, "wb") as file:
            file.write(head)
            for seconds, fraction, length, data in kept:
                file.write(struct.pack("<4I", seconds + day * 86_400, fraction, len(data), length) + data)
        yield path


class Asked(unittest.TestCase):
    """Every panel's question at real servers that hold the events of all fixtures."""

    @classmethod
    def setUpClass(cls):
        cls.why = {name: missing(name) for name in NAMES}
        for why in filter(None, cls.why.values()):
            print(f"\nskipped: {why}")
        cls.servers, cls.failed = {}, {}
        servers = [Search(name) for name in NAMES if not cls.why[name]]
        for server in servers:
            cls.addClassCleanup(server.end)
            # One after the other: they share maven's repository. The rest goes on side by side.
            server.packages()
        threads = [threading.Thread(target=cls.fill, args=(server,)) for server in servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    @classmethod
    def fill(cls, server):
        """Starts a server and sends it the events of all fixtures."""
        try:
            server.start()
            with contextlib.ExitStack() as ends:
                chain = Chain(types.SimpleNamespace(addCleanup=ends.callback))
                folder = ends.enter_context(tempfile.TemporaryDirectory(prefix="tapline-e2e-"))
                chain.up([*FIXTURES, *spoilt_calls(folder)], *output(server.url, dynamic="strict"))
                wait_for("all files to be decoded", lambda: chain.log().count("decoded to its end") >= 1 and "all files are archived" in chain.log(), 30)
                wait_for("all events to be sent", lambda: test_search.EveryDataset.sent(None, chain), 30)
                assert not chain.letters()[1], chain.letters()[1]
            cls.lose(server)
            cls.servers[server.name] = server
        except Exception as error:  # pylint: disable=broad-except
            cls.failed[server.name] = error

    @staticmethod
    def lose(server):
        """Reading files loses nothing: an event that says that our own capture lost packets is made of one that does not."""
        server.ask("POST", "/tapline-*/_refresh")
        [found] = server.ask("POST", "/tapline-rtp-*/_search", {"size": 1, "query": {"query_string": {"query": "rtp.final:false AND rtp.lost:>0"}}})["hits"]["hits"]
        event = found["_source"]
        event["tapline"]["capture_loss"] = event["rtp"]["lost_by_capture"] = 1
        server.ask("PUT", f"/{found['_index']}/_create/by-hand?refresh=true", event)

    def check(self, name, *products):
        if name not in NAMES:
            self.skipTest(f"TAPLINE_SERVERS does not name {name}")
        if self.why[name]:
            self.skipTest(self.why[name])
        if name in self.failed:
            raise self.failed[name]
        server = self.servers[name]
        for product in products:
            pattern = "tapline-*,logs-tapline.*"
            if product != "grafana":
                [pattern] = [one["attributes"]["title"] for one in objects(product) if one["type"] == "index-pattern"]
            asked, shown = questions(product), 0
            for question in asked:
                with self.subTest(server=name, product=product, panel=question.title):
                    answer = server.ask("POST", f"/{urllib.parse.quote(pattern)}/_search", question.body())
                    self.assertEqual(answer["_shards"]["failed"], 0, answer["_shards"])
                    self.assertFalse(answer["timed_out"])
                    held = question.held(answer)
                    self.assertEqual([figure for figure, buckets in held.items() if not buckets], [], "nothing is shown of these")
                    shown += sum(held.values())
                    if ("date_histogram", "36500d") in [(kind, body.get("fixed_interval")) for kind, body in question.buckets]:
                        self.assertEqual(len(answer["aggregations"]["b0"]["buckets"]), 1, "one number has one interval")
            print(f"\n  {name}: {len(asked)} questions of {product}, {shown} figures", end="")

    def test_elasticsearch_8(self):
        self.check("elasticsearch-8", "kibana", "grafana")

    def test_elasticsearch_9(self):
        self.check("elasticsearch-9", "kibana", "grafana")

    def test_opensearch_2(self):
        self.check("opensearch-2", "opensearch")

    def test_opensearch_3(self):
        self.check("opensearch-3", "opensearch")


class Bridge(http.server.BaseHTTPRequestHandler):
    """Gives /PROGRAM/metrics from the program's Unix socket, where Prometheus cannot ask."""
    sockets = {}

    def do_GET(self):
        text = self.text(self.path.split("/")[1]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    @classmethod
    def text(cls, program):
        return bounded(["curl", "-s", "--max-time", "5", "--unix-socket", cls.sockets[program], "http://x/metrics"])

    def log_message(self, *_):
        pass


def expressions():
    """(row and title, expression, legend) of the metrics dashboard."""
    return [(f"{row}: {panel['title']}", target["expr"], target["legendFormat"]) for row, panel in grafana("metrics") for target in panel["targets"]]


@unittest.skipUnless(ROOT, "needs root: it makes a network namespace and captures")
class Metrics(unittest.TestCase):
    """The metrics dashboard beside programs that run: probe, collector, analyzer, console, and a probe whose collector is away."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        cls.addClassCleanup(folder.cleanup)
        os.chmod(folder.name, 0o755)
        cls.folder = folder.name
        lab = Lab()
        cls.addClassCleanup(lab.down)
        lab.up(servers=False)
        data = os.path.join(cls.folder, "data")
        os.mkdir(data)
        programs = Programs(BINARIES, data)
        cls.addClassCleanup(programs.kill)
        programs.start_up("-i", lab.link, "--name", "gw1", "--console", "127.0.0.1:0", "--set", f'probe.status="unix:{cls.folder}/probe.sock"')
        with open(os.path.join(cls.folder, "away.log"), "wb") as log:
            away = subprocess.Popen([os.path.join(BINARIES, "tapline-probe"), "-i", lab.link, "--name", "gw2", "--collector", f"unix:{cls.folder}/nobody.sock",
                                     "--set", f'probe.status="unix:{cls.folder}/away.sock"', "--set", "probe.spool.memory=1MiB"], stdout=log, stderr=log)
        cls.addClassCleanup(end, away)
        run = os.path.join(data, "run")
        Bridge.sockets = {"probe": f"{cls.folder}/probe.sock", "away": f"{cls.folder}/away.sock",
                          **{name: os.path.join(run, f"{name}.sock") for name in ("collector", "analyzer", "console")}}
        wait_for("the sockets", lambda: all(os.path.exists(path) for path in Bridge.sockets.values()))
        # Somebody who is no probe.
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(os.path.join(run, "uplink.sock"))
            stranger.sendall(b"GET / HTTP/1.0\r\n\r\n" + bytes(64))
            stranger.settimeout(3)
            with contextlib.suppress(OSError):
                stranger.recv(100)
        # What does not compress, until the probe whose collector is away has to drop.
        def dropped():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for _ in range(400):
                    with contextlib.suppress(OSError):
                        sender.sendto(os.urandom(1400), (lab.peer, 9))
            return "tapline_probe_dropped_packets_total{" in Bridge.text("away")

        wait_for("drops of the probe whose collector is away", dropped)
        bounded(["ping", "-q", "-c", "2", "-i", "0.2", lab.peer], check=True)
        wanted = ("tapline_analyzer_events_by_type_total{", "tapline_analyzer_next_seq{")
        wait_for("an event and the position", lambda: all(name in Bridge.text("analyzer") for name in wanted))
        page = programs.page()
        with urllib.request.urlopen(f"{page.rstrip('/')}/api/v1/facets?field=type", timeout=10) as answer:
            assert answer.status == 200

    def test_every_metric_and_label_is_there(self):
        samples = {}
        for program in Bridge.sockets:
            for name, labels in re.findall(r"^(tapline_\w+)(?:\{(.*)\})? \S+$", Bridge.text(program), re.M):
                samples.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
        for title, expression, legend in expressions():
            with self.subTest(panel=title, expression=expression):
                names = re.findall(r"tapline_\w+", expression)
                self.assertTrue(names)
                by = [label.strip() for labels in re.findall(r"by \(([^)]*)\)", expression) for label in labels.split(",")]
                self.assertLessEqual(set(re.findall(r"\{\{(\w+)\}\}", legend)), set(by), "the legend names a label that is not divided by")
                for name in names:
                    self.assertTrue(name in samples, f"{name}: no program has it")
                    # Prometheus itself says which instance it is.
                    self.assertLessEqual(set(by) - {"instance"}, samples[name], name)

    def test_prometheus_answers_every_expression(self):
        if not shutil.which("prometheus"):
            print("\nskipped: prometheus is not installed")
            self.skipTest("prometheus is not installed")
        bridge = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bridge)
        self.addCleanup(bridge.server_close)
        self.addCleanup(bridge.shutdown)
        threading.Thread(target=bridge.serve_forever, daemon=True).start()
        jobs = [{"job_name": name, "metrics_path": f"/{name}/metrics", "static_configs": [{"targets": [f"127.0.0.1:{bridge.server_port}"]}]} for name in Bridge.sockets]
        # JSON is YAML.
        with open(os.path.join(self.folder, "prometheus.yml"), "w", encoding="utf-8") as file:
            json.dump({"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}, file)
        port = free_port()
        with open(os.path.join(self.folder, "prometheus.log"), "wb") as log:
            prometheus = subprocess.Popen(["prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/tsdb",
                                           f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
        self.addCleanup(end, prometheus)

        def result(expression):
            # What stands in for nothing would hide that there is nothing.
            expression = expression.replace("$__rate_interval", f"{SECONDS}s").replace("$__range", f"{SECONDS}s").removesuffix(" or vector(0)")
            query = urllib.parse.urlencode({"query": expression})
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=5) as answer:
                    return json.load(answer)["data"]["result"]
            except urllib.error.HTTPError as error:
                # It says 503 until it has read its own data.
                if error.code == 503:
                    return []
                raise AssertionError(f"{expression}: {error.read().decode()}") from None
            except OSError:
                return []

        wait_for("Prometheus to have asked everybody", lambda: len([one for one in result("up") if one["value"][1] == "1"]) == len(jobs), 20)
        ends = time.monotonic() + 20
        for title, expression, legend in expressions():
            with self.subTest(panel=title, expression=expression):
                found = result(expression)
                while not found and time.monotonic() < ends:
                    time.sleep(0.3)
                    found = result(expression)
                self.assertTrue(found, "no series")
                for series in found:
                    self.assertLessEqual(set(re.findall(r"\{\{(\w+)\}\}", legend)), set(series["metric"]))


if __name__ == "__main__":
    unittest.main()
