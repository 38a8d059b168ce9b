"""The console's API as a program sees it: answers as the OpenAPI says and as the events are, exact packets, who may ask, metrics."""
import collections
import http.client
import json
import os
import re
import socket
import struct
import subprocess
import tempfile
import time
import unittest
import urllib.parse

import jsonschema

from lab import Lab, Programs, bounded, end, wait_for
from promcheck import problems
from test_up import status_of

BINARIES = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(os.path.dirname(__file__), "..", "target")), "release")
ROOT = os.geteuid() == 0


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


def ask(connection, path, method="GET", **headers):
    """Status, headers and body."""
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def dns_query(number, name, query_type):
    """A question (RFC 1035) with this id."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", query_type, 1)


@unittest.skipUnless(ROOT, "needs root: it makes a network namespace and captures")
class Console(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        cls.addClassCleanup(cls.folder.cleanup)
        os.chmod(cls.folder.name, 0o755)
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.down)
        cls.lab.up()
        cls.programs = Programs(os.path.abspath(BINARIES), cls.folder.name)
        cls.addClassCleanup(cls.programs.kill)
        cls.up = cls.programs.start_up("-i", cls.lab.link, "--console", "127.0.0.1:0", "--set", f'probe.status="unix:{cls.folder.name}/probe.sock"')
        cls.address = cls.programs.page().split("/")[2]
        bounded(["ping", "-q", "-c", "2", "-i", "0.2", cls.lab.peer], check=True)
        for number in range(5):
            bounded(["curl", "-s", "-o", "/dev/null", f"http://{cls.lab.peer}:8080/{'missing' if number == 4 else ''}?n={number}"], check=True)
        bounded(["dig", "+tries=1", f"@{cls.lab.peer}", "A", "missing.demo.test"], check=True)
        cls.parallel_lookups()
        wait_for("the events in the store", lambda: cls.json("/api/v1/facets?field=type&type=dns")["values"] == [{"value": "dns", "count": 13}])

    @classmethod
    def parallel_lookups(cls):
        """A and AAAA of six names from one socket, all asked before anything is read: as glibc does, only more so."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect((cls.lab.peer, 53))
            asking.settimeout(5)
            for number in range(6):
                for query_type in (1, 28):
                    asking.send(dns_query(number * 100 + query_type, f"host{number}.demo.test", query_type))
            for _ in range(12):
                asking.recv(4096)

    @classmethod
    def get(cls, path, method="GET", **headers):
        return ask(http.client.HTTPConnection(cls.address, timeout=10), path, method, **headers)

    @classmethod
    def json(cls, path, status=200):
        got, _, body = cls.get(path)
        answer = json.loads(body)
        if got != status:
            raise AssertionError(f"{path}: {got} {answer}")
        return answer

    def events(self, query=""):
        return self.json(f"/api/v1/events?limit=1000&{query}")["events"]

    def one(self, query):
        found = self.events(query)
        self.assertTrue(found, f"no event is {query}")
        return found[0]

    def test_every_answer_is_as_the_openapi_says(self):
        api = self.json("/api/v1/openapi.json")
        event = self.one("type=http")["id"]
        fill = {"field": "type", "source": self.events()[0]["tapline"]["source"], "epoch": self.events()[0]["tapline"]["epoch"]}
        asked = 0
        for path, operations in api["paths"].items():
            for method, operation in operations.items():
                statuses = operation["responses"]
                (good, described), = [(status, text) for status, text in statuses.items() if status.startswith("2")]
                content = described.get("content", {})
                if "text/event-stream" in content or path == "/api/v1/live":
                    continue
                parameters = operation.get("parameters", [])
                needed = "&".join(f"{p['name']}={fill[p['name']]}" for p in parameters if p.get("required") and p.get("in") == "query")
                status, headers, body = self.get(f"{path.replace('{id}', event)}?{needed}", method.upper())
                with self.subTest(path=path):
                    self.assertEqual(status, int(good), body[:300])
                    self.check(api, content, headers, body)
                if path.startswith("/api/v1/") and method == "get" and path != "/api/v1/openapi.json":
                    status, headers, body = self.get(f"{path.replace('{id}', event)}?{needed}&nonsense=1")
                    with self.subTest(path=path, wrong=True):
                        if path not in WITHOUT_PARAMETERS:
                            self.check(api, api["components"]["responses"]["Error"]["content"], headers, body)
                            self.assertIn(str(status), statuses)
                            self.assertEqual(status, 400)
                            self.assertIn("nonsense", json.loads(body)["error"])
                asked += 1
        self.assertGreater(asked, 20)

    def check(self, api, content, headers, body):
        if not content:
            return
        kind = headers["content-type"].split(";")[0]
        self.assertIn(kind, content)
        if kind == "application/json":
            schema = {**content[kind]["schema"], "components": api["components"]}
            jsonschema.Draft202012Validator(schema).validate(json.loads(body))

    def test_every_path_of_the_page_and_the_text_is_in_the_openapi(self):
        api = self.json("/api/v1/openapi.json")
        with open(os.path.join(os.path.dirname(__file__), "..", "docs", "api.md"), encoding="utf-8") as text:
            named = set(re.findall(r"`(?:GET|POST) (/api/v1/[A-Za-z/.]+)", text.read()))
        self.assertGreater(len(named), 12)
        self.assertEqual({path.replace("ID", "{id}") for path in named} - set(api["paths"]), set())

    def test_the_events_are_those_of_the_files(self):
        written = wait_for("the same number of events in both outputs", self.both_outputs)
        counts = collections.Counter(event["type"] for event in written)
        values = {value["value"]: value["count"] for value in self.json("/api/v1/facets?field=type&limit=100")["values"]}
        self.assertEqual(values, counts)
        by_id = {event.pop("_id"): event for event in written}
        for event in self.events():
            self.assertEqual(by_id[event.pop("id")], event)
        for query, fits in (
            ("type=dns", lambda e: e["type"] == "dns"),
            ("type=dns&type=http", lambda e: e["type"] in ("dns", "http")),
            ("q=-type:flow", lambda e: e["type"] != "flow"),
            ("port=53", lambda e: 53 in (e.get("source", {}).get("port"), e.get("destination", {}).get("port"))),
            (f"ip={self.lab.peer}", lambda e: self.lab.peer in (e.get("source", {}).get("ip"), e.get("destination", {}).get("ip"))),
            ("q=http.response.status_code:404", lambda e: e.get("http", {}).get("response", {}).get("status_code") == 404),
            ("q=host3.demo.test type:dns", lambda e: e["type"] == "dns" and "host3.demo.test" in json.dumps(e)),
        ):
            with self.subTest(query=query):
                expected = sum(1 for event in by_id.values() if fits(event))
                self.assertGreater(expected, 0)
                self.assertEqual(len(self.events(urllib.parse.quote(query, safe="=&"))), expected)
        histogram = self.json("/api/v1/histogram?buckets=50")
        self.assertEqual(sum(sum(series["counts"]) for series in histogram["series"]), len(by_id))

    def both_outputs(self):
        """The events of the files once the store has as many."""
        written = self.programs.events()
        return written if len(written) == len(self.events()) else None

    def test_pages_go_on_without_a_gap(self):
        whole = [event["id"] for event in self.events("type=dns")]
        got, after = [], ""
        while after is not None:
            page = self.json(f"/api/v1/events?type=dns&limit=4{after}")
            got += [event["id"] for event in page["events"]]
            after = page["next"] and "&after=" + urllib.parse.quote(page["next"])
        self.assertEqual(got, whole)

    def test_the_packets_of_an_event_are_exactly_its_own(self):
        everything = self.tshark(self.grab(), "frame.time_epoch", "dns.id", "dns.qry.type")
        lookups = self.events("type=dns")
        self.assertEqual(len(lookups), 13)
        for event in lookups:
            mine = [row for row in everything if row[1] and int(row[1], 16) == event["dns"]["id"]]
            self.assertEqual(len(mine), 2)
            self.assertEqual(self.tshark(self.packets(event), "frame.time_epoch", "dns.id", "dns.qry.type"), mine)
        event = self.one("type=http&q=http.response.status_code:404")
        rows = self.tshark(self.packets(event), "tcp.srcport", "http.request.uri", "http.response.code")
        self.assertEqual([row[1] for row in rows if row[1]], ["/missing?n=4"])
        self.assertEqual([row[2] for row in rows if row[2]], ["404"])
        port = str(event["client"]["port"])
        self.assertTrue(all(port == row[0] or "8080" == row[0] for row in rows))
        facts = self.json(f"/api/v1/events/{event['id']}/packets")
        self.assertEqual((facts["packets"], facts["bytes"]), (len(rows), len(self.download(event))))
        # The command that it states does the same.
        words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", facts["command"])][1:]
        path = os.path.join(self.folder.name, "command.pcapng")
        self.programs.tapline(*words[:-1], path)
        self.assertEqual(self.tshark(path, "tcp.srcport", "http.request.uri", "http.response.code"), rows)

    def grab(self):
        path = os.path.join(self.folder.name, "all.pcapng")
        self.programs.tapline("grab", "-w", path)
        return path

    def download(self, event):
        status, headers, body = self.get(f"/api/v1/events/{event['id']}/packets.pcapng")
        self.assertEqual(status, 200, body[:300])
        self.assertIn(f'filename="{event["type"]}-', headers["content-disposition"])
        return body

    def packets(self, event):
        path = os.path.join(self.folder.name, "event.pcapng")
        with open(path, "wb") as out:
            out.write(self.download(event))
        return path

    def tshark(self, path, *fields):
        words = [word for field in fields for word in ("-e", field)]
        lines = bounded(["tshark", "-r", path, "-T", "fields", *words], check=True).splitlines()
        return [line.split("\t") for line in lines]

    def test_related_events_are_those_of_the_flow(self):
        event = self.one("type=http")
        answer = self.json(f"/api/v1/events/{event['id']}/related")
        self.assertEqual((answer["by"], answer["value"]), ("flow", event["network"]["community_id"]))
        self.assertNotIn(event["id"], [other["id"] for other in answer["events"]])
        for other in answer["events"]:
            self.assertEqual(other["network"]["community_id"], event["network"]["community_id"])

    def test_what_is_captured_is_heard_live_within_two_seconds(self):
        connection = http.client.HTTPConnection(self.address, timeout=5)
        self.addCleanup(connection.close)
        connection.request("GET", "/api/v1/events/live?type=dns&q=live-now")
        stream = connection.getresponse()
        self.assertEqual(stream.headers["content-type"], "text/event-stream")
        asked = time.monotonic()
        bounded(["dig", "+tries=1", f"@{self.lab.peer}", "A", "live-now.demo.test"], check=True)
        self.assertEqual(stream.readline(), b"event: event\n")
        document = json.loads(stream.readline().removeprefix(b"data: "))
        self.assertLess(time.monotonic() - asked, 2)
        self.assertEqual(document["dns"]["question"]["name"], "live-now.demo.test")

    def test_the_overview_shows_what_comes_and_that_the_account_closes(self):
        connection = http.client.HTTPConnection(self.address, timeout=5)
        self.addCleanup(connection.close)
        connection.request("GET", "/api/v1/overview/live")
        stream = connection.getresponse()
        bounded(["ping", "-q", "-c", "20", "-i", "0.02", self.lab.peer], check=True)
        ends = time.monotonic() + 8
        while True:
            line = stream.readline()
            if line.startswith(b"data: "):
                overview = json.loads(line[6:])
                if any(source["packets_per_second"] >= 4 for source in overview["sources"]):
                    break
            self.assertLess(time.monotonic(), ends, "no rate was seen")
        self.assertTrue(overview["balance"]["closes"], overview["balance"])
        self.assertTrue(overview["collector"]["reachable"] and overview["analyzer"]["reachable"])
        self.assertEqual([output["name"] for output in overview["chain"]["outputs"]], ["ndjson", "store"])

    def test_foreign_pages_and_names_are_turned_away(self):
        port = self.address.rsplit(":", 1)[1]
        for good in ({}, {"Host": f"localhost:{port}"}, {"Host": f"[::1]:{port}"}, {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"},
                     {"Sec_Fetch_Site": "same-origin"}, {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate"}):
            self.assertEqual(self.get("/api/v1/store", **good)[0], 200, good)
        for bad in ({"Host": f"evil.example:{port}"}, {"Host": f"{self.lab.address}:{port}"}, {"Host": "localhost.evil.example"}, {"Host": ""},
                    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": f"http://127.0.0.1:{int(port) + 1}"},
                    {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}):
            for path in ("/api/v1/events", "/api/v1/packets", "/", "/metrics"):
                status, headers, body = self.get(path, **bad)
                self.assertEqual(status, 403, (bad, path))
                self.assertNotIn(b"tapline grab", body)
        self.assertEqual(self.get("/api/v1/rotate", "POST", Origin="http://evil.example")[0], 403)
        self.assertEqual(self.get("/api/v1/events", "DELETE")[0], 405)
        headers = self.get("/")[1]
        self.assertIn("default-src 'self'", headers["content-security-policy"])
        self.assertNotIn("unsafe", headers["content-security-policy"])
        self.assertEqual(headers["x-content-type-options"], "nosniff")

    def test_another_machine_needs_a_token(self):
        console = subprocess.Popen(
            [*self.programs.command("console"), "--set", f"console.data={self.folder.name}", "--set", f'console.listen=["{self.lab.address}:0"]'],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        self.addCleanup(end, console)
        self.addCleanup(console.stdout.close)
        address = None
        while address is None:
            line = console.stdout.readline().decode()
            self.assertTrue(line, "the console ended")
            found = re.search(r"the page is at http://(\S+)/", line)
            address = found and found[1]
        self.assertNotIn("0", status_of(console.pid)["Uid"].split())
        get = lambda path, method="GET", **headers: ask(http.client.HTTPConnection(address, timeout=10), path, method, **headers)
        self.assertEqual(get("/")[0], 200, "the page itself, which asks for the token")
        for path in ("/api/v1/events", "/api/v1/packets", "/metrics", "/api/v1/session"):
            self.assertEqual(get(path, "POST" if path.endswith("session") else "GET")[0], 401, path)
        token = self.programs.tapline("keys", "token", "ada").strip()
        time.sleep(1.1)
        self.assertEqual(get("/api/v1/events", Authorization=f"Bearer {token}")[0], 200)
        self.assertEqual(get("/api/v1/events", Authorization=f"Bearer {token[:-1]}x")[0], 401)
        status, headers, _ = get("/api/v1/session", "POST", Authorization=f"Bearer {token}")
        cookie = headers["set-cookie"]
        self.assertEqual(status, 204)
        self.assertIn("HttpOnly", cookie)
        self.assertIn("SameSite=Strict", cookie)
        self.assertEqual(get("/api/v1/events", Cookie=cookie.split(";")[0])[0], 200)
        self.assertIn("ada", self.programs.tapline("keys", "token", "--list"))
        self.programs.tapline("keys", "token", "ada", "--revoke")
        time.sleep(1.1)
        self.assertEqual(get("/api/v1/events", Cookie=cookie.split(";")[0])[0], 401)

    def test_metrics_and_health_of_every_program(self):
        run = os.path.join(self.folder.name, "run")
        doors = {name: lambda name=name: Unix(os.path.join(run, f"{name}.sock")) for name in ("collector", "analyzer", "console")}
        doors["probe"] = lambda: Unix(os.path.join(self.folder.name, "probe.sock"))
        doors["page"] = lambda: http.client.HTTPConnection(self.address, timeout=10)
        for name, door in doors.items():
            with self.subTest(program=name):
                self.assertEqual(ask(door(), "/healthz")[0], 200)
                self.assertEqual(ask(door(), "/readyz")[0], 200)
                status, headers, body = ask(door(), "/metrics")
                self.assertEqual(status, 200)
                self.assertEqual(headers["content-type"], "text/plain; version=0.0.4")
                self.assertEqual(problems(body.decode()), [])
        metrics = ask(doors["probe"](), "/metrics")[2].decode()
        self.assertGreater(int(re.search(r"^tapline_probe_captured_packets_total\{.*\} (\d+)", metrics, re.M)[1]), 20)
        self.assertEqual(ask(doors["probe"](), "/nothing")[0], 404)

    def test_many_visitors_and_slow_ones_keep_nobody_out(self):
        host, port = self.address.rsplit(":", 1)
        slow = []
        try:
            for _ in range(200):
                connection = socket.create_connection((host, int(port)), timeout=5)
                connection.send(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
                slow.append(connection)
            listening = []
            for _ in range(70):
                connection = http.client.HTTPConnection(self.address, timeout=5)
                connection.request("GET", "/api/v1/events/live")
                listening.append(connection)
            statuses = collections.Counter(connection.getresponse().status for connection in listening)
            slow += listening
            self.assertLessEqual(statuses[200], 64)
            self.assertGreater(statuses[429], 0)
            began = time.monotonic()
            self.assertEqual(self.get("/api/v1/events?limit=5")[0], 200)
            self.assertLess(time.monotonic() - began, 2.5)
        finally:
            for connection in slow:
                connection.close()


# The collector answers these without looking at what stands behind the question mark.
WITHOUT_PARAMETERS = {"/api/v1/sources", "/api/v1/balance", "/api/v1/segments", "/api/v1/status"}


if __name__ == "__main__":
    unittest.main()
