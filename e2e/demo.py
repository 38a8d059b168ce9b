#!/usr/bin/env python3
"""Tapline's demo: real traffic of real programs, captured live, archived, decoded, and checked from outside.

    demo.py --bin target/release [--for 25s] [--data DIR] [--elasticsearch URL]

Makes a network namespace joined to this machine by a veth pair, starts a DNS and an HTTP server in it, runs `tapline up` on
this machine's end and lets ping, dig and curl talk through it; sipp calls a sipp over it, and nftables loses a counted number
of the caller's RTP packets. Without --for it goes on until Ctrl-C. At the end it shows
what was captured, and compares the archive and the events with what an independent tcpdump on the other end of the wire saw;
it exits 0 only if every packet and every event that the traffic must give is there.

Everything happens in the namespace, on the veth pair and in a scratch directory; all of it is removed at the end.
"""
import argparse
import os
import shutil
import signal
import sys
import tempfile
import time

from call import Call
from indexed import Indexed
from lab import Lab, LabError, Programs, bounded
from witness import Witness


def parse_duration(text):
    units = {"s": 1, "m": 60, "h": 3600}
    if text[-1:] in units:
        return float(text[:-1]) * units[text[-1]]
    return float(text)


def arguments():
    parser = argparse.ArgumentParser(description="Tapline's demo")
    parser.add_argument("--bin", default="target/release", help="directory of tapline and tapline-probe")
    parser.add_argument("--for", dest="duration", type=parse_duration, help="end by itself after this time, such as 25s")
    parser.add_argument("--elasticsearch", metavar="URL", help="send the events to this Elasticsearch or OpenSearch, too, and look there for all of them")
    parser.add_argument("--data", help="data directory to use and keep, a new one (default: a scratch directory, removed at the end)")
    return parser.parse_args()


class Traffic:
    """What the demo sends, counted, so that it knows what must be found."""

    def __init__(self, lab):
        self.lab = lab
        self.pings = self.failed = 0
        self.lookups = []
        self.requests = []

    def round(self, number):
        peer = self.lab.peer
        self.failed += 0 == self.run("ping", "-q", "-c", "1", "-W", "2", peer).count("1 received")
        self.pings += 1
        name = f"host{number % 7}.demo.test"
        for query_type, target, options in (
            ("A", name, []),
            ("AAAA", name, []),
            ("MX", "demo.test", []),
            ("A", f"missing{number}.demo.test", []),
            ("TXT", "demo.test", ["+tcp"]),
        ):
            self.run("dig", "+tries=1", "+time=2", *options, f"@{peer}", query_type, target)
            self.lookups.append((query_type, target, bool(options)))
        path = "/" if number % 3 else "/missing.html"
        self.run("curl", "-s", "-o", "/dev/null", "--max-time", "4", f"http://{peer}:8080{path}?round={number}")
        self.requests.append(path)

    @staticmethod
    def run(*command):
        return bounded(command)


def show(title, text):
    print(f"\n{title}")
    print("\n".join("  " + line for line in text.rstrip().splitlines()))


def main():
    options = arguments()
    scratch = options.data is None
    data = os.path.abspath(options.data or tempfile.mkdtemp(prefix="tapline-demo-"))
    os.makedirs(data, exist_ok=True)
    # `up` gives up root for an unprivileged user, who must be able to reach the directory.
    os.chmod(data, 0o755)
    programs = Programs(os.path.abspath(options.bin), data)
    stop = []
    signal.signal(signal.SIGINT, lambda *_: stop.append(1))
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    failures = []
    indexed = Indexed(options.elasticsearch)
    lab = Lab()
    witness = call = None
    try:
        lab.up()
        up = programs.start_up("-i", lab.link, *indexed.settings())
        witness = Witness(lab)
        traffic = Traffic(lab)
        call = Call(lab, data)
        ends = time.monotonic() + options.duration if options.duration else None
        print(f"the page is at {programs.page()}", flush=True)
        print(f"capturing on {lab.link}; traffic: ping, dig, curl and a call with {lab.peer}" + ("" if ends else "; Ctrl-C ends"), flush=True)
        number = 0
        while not stop and (ends is None or time.monotonic() < ends):
            if number == 0 or ends is None and not call.talking():
                call.wait()
                call.start()
            traffic.round(number)
            number += 1
            if number % 10 == 0:
                print(f"  {number} rounds, {len(traffic.lookups)} lookups, {len(traffic.requests)} requests", flush=True)
            if up.poll() is not None:
                raise LabError(f"tapline up ended by itself with {up.returncode}")
            time.sleep(0.2)
        call.wait()
        witness.stop()
        time.sleep(1.0)
        show("balance", programs.tapline("status", "--balance"))
        grabbed = os.path.join(data, "grabbed.pcapng")
        programs.tapline("grab", "-w", grabbed)
        failures += witness.compare(grabbed)
        failures += programs.check_balance()
        failures += programs.end_up()
        events = programs.events()
        failures += witness.check_events(events, traffic)
        failures += call.check(events)
        failures += indexed.check(events)
        show("the call's quality", call.quality(events))
        show("events by type", programs.event_counts())
        show("newest events", programs.newest_events(6))
        show("the packets of one of them", programs.grab())
        found = indexed.show(events)
        if found:
            show("the call in the search index", found)
    except LabError as error:
        failures.append(str(error))
    finally:
        if witness:
            witness.stop()
        if call:
            call.close()
        programs.kill()
        lab.down()
        if failures:
            print(f"\nlogs: {programs.log}", file=sys.stderr)
        elif scratch:
            shutil.rmtree(data, ignore_errors=True)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    if not failures:
        print(f"\nall of it is there: {witness.packets} packets on the wire, each archived once; every expected event found")
        print(f"{data} was removed; `make demo DATA=DIR` keeps what it made" if scratch else f"all of it stays in {data}")
    return 1 if failures else 0


sys.exit(main())
