#!/usr/bin/env python3
"""Measures Tapline beside its peers on this machine and prints one table; appends the figures to bench/results/.

    bench/run.py [--bin target/release] [--only REGEX] [--runs 5] [--packets 1000000]

CPU is user + system time of the whole process per packet, the median of several runs with minimum and maximum. Peers that are
not installed are left out and named. Loads are bounded and stay in network namespaces and on Unix sockets made here.
"""
import argparse
import datetime
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))

import chain  # noqa: E402
import decoding  # noqa: E402
import encrypted  # noqa: E402
import indexing  # noqa: E402
import page  # noqa: E402
import store  # noqa: E402
from measuring import Figure, Peerless  # noqa: E402

ROWS = [*decoding.ROWS, *chain.ROWS, *encrypted.ROWS, *store.ROWS, *page.ROWS, *indexing.ROWS]


def machine():
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    return f"{os.cpu_count()} cores, {model.group(1) if model else platform.processor()}, Linux {platform.release()}"


def versions(binaries):
    found = []
    for command in ([os.path.join(binaries, "tapline"), "--version"], ["tcpdump", "--version"], ["dumpcap", "--version"], ["tshark", "--version"]):
        if shutil.which(command[0]):
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            found.append(done.stdout.decode().splitlines()[0])
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default="target/release")
    parser.add_argument("--only", default="")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--packets", type=int, default=1_000_000)
    options = parser.parse_args()
    options.bin = os.path.abspath(options.bin)
    print(f"machine: {machine()}")
    for version in versions(options.bin):
        print(f"version: {version}")
    results = []
    with tempfile.TemporaryDirectory(prefix="tapline-bench-") as work:
        os.chmod(work, 0o755)
        options.work = work
        print(f"\n{'what':66} {'median':>9} {'min':>9} {'max':>9}  unit            goal")
        for row in ROWS:
            if not re.search(options.only, row.name):
                continue
            try:
                figures = row.measure(options)
            except Peerless as missing:
                print(f"{row.name:66} left out: {missing}")
                continue
            for figure in figures:
                print(figure.line(), flush=True)
                results.append(figure.record())
    os.makedirs(os.path.join(HERE, "results"), exist_ok=True)
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    with open(os.path.join(HERE, "results", "history.ndjson"), "a", encoding="utf-8") as history:
        history.write(json.dumps({"time": stamp, "machine": machine(), "versions": versions(options.bin), "figures": results}) + "\n")
    return 0


sys.exit(main())
