"""A million events into a real Elasticsearch: what that costs the analyzer beside writing them to nowhere, and whether the server counts all of them."""
import json
import os
import subprocess
import time

import lookups
from lab import bounded, end, wait_for
from measuring import Figure, Peerless, Row, cpu_of, peak_memory_of
from search import Search, missing

LOOKUPS = int(os.environ.get("INDEXING_LOOKUPS", 500_000))
SERVER = "elasticsearch-8"


def status(data):
    text = bounded(["curl", "-s", "--max-time", "5", "--unix-socket", f"{data}/run/analyzer.sock", "http://analyzer/status"])
    return json.loads(text)["outputs"] if text else {}


def analyse(options, collected, name, run, words):
    """An analyzer that decodes the whole archive into one output: CPU seconds, wall seconds, MiB and events until `name` has every event."""
    data = os.path.join(options.work, f"analyzer-{name}-{run}")
    os.makedirs(data)
    settings = {"data": f'"{data}"', "user": '"root"', "start": '"oldest"', "workers": "1", "feed": f'["ipc://{collected}/run/feed"]',
                "collector": f'"unix:{collected}/run/collector.sock"', "output.ndjson.enabled": "false", **words}
    command = [os.path.join(options.bin, "tapline"), "analyzer", *(word for key, value in settings.items() for word in ("--set", f"analyzer.{key}={value}"))]
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for("the events", lambda: status(data).get(name, {}).get("events_written", 0) >= 2 * LOOKUPS, 120)
        return cpu_of(process.pid), time.monotonic() - begin, peak_memory_of(process.pid), status(data)[name]["events_written"]
    finally:
        end(process, 15)


def measure(options):
    why = missing(SERVER)
    if why:
        raise Peerless(why)
    collected = os.path.join(options.work, "indexing")
    os.makedirs(collected)
    capture = os.path.join(options.work, "lookups.pcap")
    lookups.write(capture, LOOKUPS)
    program = lambda name: os.path.join(options.bin, name)
    sets = {"data": f'"{collected}"', "user": '"root"', "listen": f'["unix:{collected}/uplink.sock"]', "api": f'["unix:{collected}/run/collector.sock"]',
            "feed": f'["ipc://{collected}/run/feed"]'}
    collector = subprocess.Popen([program("tapline"), "collector", *(word for key, value in sets.items() for word in ("--set", f"collector.{key}={value}"))],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = Search(SERVER)
    try:
        wait_for("the collector", lambda: os.path.exists(f"{collected}/uplink.sock"))
        os.chmod(f"{collected}/uplink.sock", 0o777)
        bounded([program("tapline-probe"), "-r", capture, "--name", "lookups", "--collector", f"unix:{collected}/uplink.sock"], 120, check=True)
        os.remove(capture)
        server.start()
        nowhere, indexed, walls, memory = [], [], [], []
        for run in range(3):
            nowhere.append(analyse(options, collected, "stdout", run, {"output.stdout.enabled": "true"})[0])
            words = {"output.elasticsearch.enabled": "true", "output.elasticsearch.hosts": json.dumps([server.url]), "output.elasticsearch.index": f'"run{run}"'}
            cpu, wall, peak, written = analyse(options, collected, "elasticsearch", run, words)
            found = server.count(f"run{run}-*")
            # An event for each lookup and flow; a flow that is open when flows are reported has one more.
            if found != written or found > 2.001 * LOOKUPS:
                raise RuntimeError(f"{written} events sent, {found} in the index")
            indexed.append(cpu)
            walls.append(wall)
            memory.append(peak)
    finally:
        end(collector)
        server.end()
    events = f"{2 * LOOKUPS:,} events"
    return [Figure(f"Elasticsearch output, {events}, each counted by the server", [(with_it - without) / (2 * LOOKUPS) * 1e6 for with_it, without in zip(indexed, nowhere)],
                   "us CPU/event", "<= 10"),
            Figure("the same, the server on the same two cores", [2 * LOOKUPS / wall for wall in walls], "events/s"),
            Figure("the same, peak memory of the analyzer", memory, "MiB")]


ROWS = [Row("indexing", measure)]
