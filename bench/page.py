"""The views of the page over ten million stored events, as a browser asks for them: all questions of a view at once, over HTTP."""
import concurrent.futures
import http.client
import os
import re
import statistics
import subprocess
import time
import urllib.parse

from lab import end
from measuring import Figure, Row
from store import example, run

EVENTS = 10_000_000
HOURS = 24
ROUNDS = 3
FILTERS = ["", "type:dns", "type:call", "status:\"Server Error\"", "ip:10.0.0.7", "ip:10.0.1.0/24 port:53", "no.such", "http.response.status_code:500",
           "-type:flow -type:dns source:web1"]
RANGES = ["-15m", "-1h", f"-{HOURS}h"]
# What each view asks at once.
VIEWS = {
    "events": ["events?{said}&limit=100", "histogram?{said}&buckets=120&by=type"],
    "voice": ["calls?{said}&limit=100", "streams?{said}&limit=200"],
    "completion": ["facets?{said}&field=source", "facets?{said}&field=ip&prefix=10.", "facets?{said}&field=dns.question.name&prefix=h"],
    "live": ["overview", "store"],
}


def ask(address, question):
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request("GET", f"/api/v1/{question}")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{question}: {answer.status} {body[:200]}")
    finally:
        connection.close()


def look(pool, address, questions):
    """Milliseconds until every question of a view is answered."""
    began = time.monotonic()
    list(pool.map(lambda question: ask(address, question), questions))
    return (time.monotonic() - began) * 1e3


def measure(options):
    events = int(os.environ.get("STORE_EVENTS", EVENTS))
    run(example(options, "fill"), os.path.join(options.work, "store"), str(events), str(HOURS))
    console = subprocess.Popen(
        [os.path.join(options.bin, "tapline"), "console", "--set", f"console.data={options.work}", "--set", "console.user=root", "--set", 'console.listen=["127.0.0.1:0"]'],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    took = {}
    try:
        address = re.search(r"http://(\S+)/", console.stdout.readline())[1]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for view, questions in VIEWS.items():
                for since in RANGES:
                    for words in FILTERS:
                        said = urllib.parse.urlencode({"since": since, "q": words})
                        for _ in range(ROUNDS):
                            took.setdefault(view, []).append(look(pool, address, [question.format(said=said) for question in questions]))
    finally:
        end(console)
        console.stdout.close()
    millions = f"{events / 1e6:g} million events"
    slowest = [max(times) for times in took.values()]
    print("\n".join(f"  page, {view}: median {statistics.median(times):.1f} ms, slowest {max(times):.1f} ms" for view, times in took.items()))
    return [Figure(f"page: the slowest of any view, {millions}", [max(slowest)], "ms", "<= 300"),
            Figure("page: a view in the middle", [statistics.median(time for times in took.values() for time in times)], "ms")]


ROWS = [Row("page", measure)]
