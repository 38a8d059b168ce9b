#!/usr/bin/env python3
"""Reliability experiments: things are killed, cut off, filled up and lied to, and the archive must hold every packet once.

    torture.py --bin target/release [--short] [--only REGEX] [--seed N]

Every packet carries its number (bench/workload/numbered.py). What is there is read from the archive's files by e2e/reader.py,
which shares no code with Tapline. Exits non-zero on any packet missing or twice that the experiment does not allow for.
Everything runs on Unix sockets and loopback, below a scratch directory, bounded in count and time.
"""
import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from lab import LabError, bounded, end, wait_for
from reader import numbers, segments, uncompressed

HERE = os.path.dirname(os.path.abspath(__file__))
NUMBERED = os.path.join(HERE, "..", "bench", "workload", "numbered.py")


class Bench:
    """One collector and its probes below a scratch directory."""

    def __init__(self, options, name):
        self.options, self.name = options, name
        self.folder = os.path.join(options.work, name)
        os.makedirs(self.folder)
        os.chmod(self.folder, 0o777)
        self.data = os.path.join(self.folder, "data")
        self.uplink = os.path.join(self.folder, "uplink.sock")
        self.api = os.path.join(self.folder, "api.sock")
        self.settings = ""
        self.processes = []
        self.collector = None
        self.starts = 0

    def start_collector(self, ready=True):
        config = os.path.join(self.folder, "tapline.toml")
        with open(config, "w", encoding="utf-8") as out:
            out.write(f'[collector]\ndata = "{self.data}"\nlisten = ["unix:{self.uplink}"]\napi = ["unix:{self.api}"]\n'
                      f'feed = ["ipc://{self.folder}/feed"]\n{self.settings}')
        self.starts += 1
        self.collector = self.start("collector", [os.path.join(self.options.bin, "tapline"), "collector", "--config", config])
        if ready:
            wait_for("the collector's API", self.alive)

    def alive(self):
        if self.collector.poll() is not None:
            raise LabError(f"the collector ended with {self.collector.returncode}; see {self.folder}/collector.log")
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(self.api)
            return True
        except OSError:
            return False

    def start(self, name, command):
        with open(os.path.join(self.folder, f"{name}.log"), "ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.processes.append(process)
        return process

    def start_probe(self, capture, *words, name="numbered", to=None):
        return self.start(name, [os.path.join(self.options.bin, "tapline-probe"), "-r", capture, "--collector", to or f"unix:{self.uplink}",
                                 "--name", name, *words])

    def status(self):
        return json.loads(bounded([os.path.join(self.options.bin, "tapline"), "status", "--balance", "--json", "--connect", f"unix:{self.api}"], check=True))

    def close(self):
        for process in reversed(self.processes):
            end(process, 15)

    def check(self, expected, may_miss=0):
        """Every number from 0 to `expected` once."""
        found = numbers(os.path.join(self.data, "archive"))
        missing = [number for number in range(expected) if number not in found]
        twice = [number for number, count in found.items() if count > 1]
        print(f"  {expected} sent, {len(found)} archived, {len(missing)} missing, {len(twice)} twice", flush=True)
        for path in segments(os.path.join(self.data, "archive")):
            uncompressed(path)
        if twice:
            raise LabError(f"{len(twice)} packets are twice in the archive, such as {twice[:3]}")
        if len(missing) > may_miss:
            raise LabError(f"{len(missing)} packets are not in the archive, such as {missing[:3]}")
        return missing


def capture(options, packets, rate):
    """A numbered capture whose packets are `rate` per second apart."""
    path = os.path.join(options.work, f"numbered-{packets}-{rate}.pcap")
    if not os.path.exists(path):
        streams = 200
        bounded(["python3", NUMBERED, path, str(packets), str(streams)], 120, check=True)
        data = bytearray(open(path, "rb").read())
        at, number = 24, 0
        while at < len(data):
            nanos = 1_750_000_000 * 10**9 + number * 10**9 // rate
            struct.pack_into("<II", data, at, nanos // 10**9, nanos % 10**9)
            at += 16 + struct.unpack_from("<I", data, at + 8)[0]
            number += 1
        with open(path, "wb") as out:
            out.write(data)
    return path


def finish(probe, seconds):
    try:
        status = probe.wait(seconds)
    except subprocess.TimeoutExpired:
        raise LabError(f"the probe did not end within {seconds} s") from None
    if status:
        raise LabError(f"the probe ended with {status}")


def kill_collector(bench, options):
    """1. kill -9 the collector at random moments while packets arrive at 5,000 a second."""
    kills = 10 if options.short else 100
    packets = 5_000 * (kills + 5) // 2
    bench.start_collector()
    probe = bench.start_probe(capture(options, packets, 5_000), "--realtime")
    done = 0
    while probe.poll() is None and done < kills:
        time.sleep(options.random.uniform(0.05, 0.6))
        bench.collector.kill()
        bench.collector.wait()
        done += 1
        bench.start_collector(ready=False)
    print(f"  {done} kills")
    finish(probe, 120)
    end(bench.collector, 15)
    bench.check(packets)
    if done < kills:
        raise LabError(f"only {done} of {kills} kills happened before the traffic ended")


def kill_probe(bench, options):
    """2. kill -9 the probe: only what it had not yet handed over is gone, nothing is there twice."""
    bench.start_collector()
    packets = 25_000
    probe = bench.start_probe(capture(options, packets, 5_000), "--realtime")
    time.sleep(2.5)
    probe.kill()
    probe.wait()
    time.sleep(1.0)
    rows = bench.status()
    end(bench.collector, 15)
    found = numbers(os.path.join(bench.data, "archive"))
    twice = [number for number, count in found.items() if count > 1]
    newest = max(found, default=-1)
    print(f"  {len(found)} archived when it was killed, {newest + 1 - len(found)} missing before the newest, {len(twice)} twice")
    if twice or newest + 1 != len(found) or newest < 5_000:
        raise LabError("the archive does not hold everything up to the newest packet once")
    if "unclean" not in json.dumps(rows):
        raise LabError(f"the balance does not say that the epoch ended uncleanly: {rows}")


class Relay(threading.Thread):
    """A TCP relay before the collector's Unix socket, whose line can be cut."""

    def __init__(self, target):
        super().__init__(daemon=True)
        self.target, self.cut, self.pairs, self.ended = target, False, [], False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.2)
        self.port = self.listener.getsockname()[1]
        self.start()

    def run(self):
        while not self.ended:
            try:
                near, _ = self.listener.accept()
            except OSError:
                continue
            if self.cut:
                near.close()
                continue
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(self.target)
            except OSError:
                near.close()
                continue
            self.pairs.append((near, far))
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(a, b), daemon=True).start()

    def pump(self, a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        for side in (a, b):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def set_cut(self, cut):
        self.cut = cut
        if cut:
            for pair in self.pairs:
                for side in pair:
                    try:
                        side.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass
            self.pairs.clear()

    def close(self):
        self.ended = True
        self.set_cut(True)
        self.listener.close()


def cut_link(bench, options):
    """3. The link is cut while packets arrive at 20,000 a second, and comes back."""
    away = 5 if options.short else 60
    packets = 20_000 * (away + 6)
    bench.start_collector()
    relay = Relay(bench.uplink)
    try:
        probe = bench.start_probe(capture(options, packets, 20_000), "--realtime", "--config", probe_config(bench, 600), to=f"127.0.0.1:{relay.port}")
        time.sleep(2.0)
        relay.set_cut(True)
        time.sleep(away)
        relay.set_cut(False)
        finish(probe, 120)
    finally:
        relay.close()
    end(bench.collector, 15)
    bench.check(packets)


def probe_config(bench, spool_mib):
    path = os.path.join(bench.folder, "probe.toml")
    with open(path, "w", encoding="utf-8") as out:
        out.write(f'[probe]\n[probe.spool]\nmemory = "{spool_mib} MiB"\n')
    return path


def full_disk(bench, options):
    """4. The collector's disk is full for a while: nothing acknowledged is lost, and work resumes by itself."""
    if os.geteuid() != 0:
        print("  skipped: needs root to mount a small file system")
        return
    os.makedirs(bench.data)
    bounded(["mount", "-t", "tmpfs", "-o", "size=64m,mode=0777", "tapline-torture", bench.data], check=True)
    try:
        packets = 60_000
        ballast = os.path.join(bench.data, "ballast")
        bench.start_collector()
        probe = bench.start_probe(capture(options, packets, 10_000), "--realtime", "--config", probe_config(bench, 200))
        time.sleep(1.5)
        with open(ballast, "wb") as out:
            try:
                while out.write(b"\0" * 65536):
                    out.flush()
            except OSError:
                pass
        time.sleep(2.5)
        os.unlink(ballast)
        finish(probe, 60)
        end(bench.collector, 15)
        bench.check(packets)
    finally:
        bench.close()
        bounded(["umount", bench.data])


def bad_subscribers(bench, options):
    """5. Subscribers that are stopped, slow or killed delay nobody."""
    bench.start_collector()
    subscriber = [sys.executable, os.path.join(HERE, "..", "bench", "subscriber.py"), f"ipc://{bench.folder}/feed"]
    stopped, killed, good = (bench.start(name, subscriber) for name in ("stopped", "killed", "good"))
    for name in ("stopped", "killed", "good"):
        wait_for(f"the subscriber {name}", lambda: "ready" in open(os.path.join(bench.folder, f"{name}.log")).read())
    packets = 200_000 if options.short else 1_000_000
    probe = bench.start_probe(capture(options, packets, 50_000))
    stopped.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    killed.kill()
    finish(probe, 120)
    time.sleep(1.0)
    stopped.kill()
    good.terminate()
    good.wait(10)
    last = json.loads(open(os.path.join(bench.folder, "good.log")).read().strip().splitlines()[-1])
    print(f"  the subscriber that behaves received {last['packets']} of {packets}")
    end(bench.collector, 15)
    bench.check(packets)
    if last["packets"] != packets:
        raise LabError("a subscriber that behaves missed packets because of others")


def clock_back(bench, options):
    """7. Times go back an hour, and segments are closed many times within a second: no file is overwritten."""
    bench.settings = 'segment_size = "1 MiB"\n'
    bench.start_collector()
    packets = 40_000
    path = capture(options, packets, 5_000)
    data = bytearray(open(path, "rb").read())
    at, number = 24, 0
    while at < len(data):
        seconds = 1_750_000_000 if number % 2_000 < 1_000 else 1_750_000_000 - 3600
        struct.pack_into("<II", data, at, seconds, 0)
        at += 16 + struct.unpack_from("<I", data, at + 8)[0]
        number += 1
    back = os.path.join(bench.folder, "back.pcap")
    with open(back, "wb") as out:
        out.write(data)
    finish(bench.start_probe(back), 60)
    end(bench.collector, 15)
    count = len(segments(os.path.join(bench.data, "archive")))
    print(f"  {count} segments")
    bench.check(packets)
    if count < 5:
        raise LabError("there was no rotation to speak of")


def hostile(bench, options):
    """8. Peers that send random bytes, half frames, oversize lengths and nothing at all do not harm the others."""
    bench.start_collector()
    packets = 50_000
    probe = bench.start_probe(capture(options, packets, 10_000), "--realtime")
    slow = []
    for number in range(200 if options.short else 2_000):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(0.5)
        try:
            client.connect(bench.uplink)
            kind = number % 5
            if kind == 0:
                client.sendall(options.random.randbytes(options.random.randrange(1, 4096)))
            elif kind == 1:
                client.sendall(b"\x01\0\0\0\xff\xff\xff\xff" + b"A" * 1000)
            elif kind == 2:
                client.sendall(b"\x01\0\0")
            elif kind == 3:
                client.sendall(b"\0" * 100_000)
            if number % 5 in (2, 4) and len(slow) < 100:
                slow.append(client)
                continue
        except OSError:
            pass
        client.close()
    finish(probe, 60)
    for client in slow:
        client.close()
    memory = int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{bench.collector.pid}/status").read()).group(1)) // 1024
    print(f"  the collector's memory at its peak: {memory} MiB")
    end(bench.collector, 15)
    bench.check(packets)
    if memory > 200:
        raise LabError("the collector's memory was not bounded")


EXPERIMENTS = [kill_collector, kill_probe, cut_link, full_disk, bad_subscribers, clock_back, hostile]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", default="target/release")
    parser.add_argument("--short", action="store_true", help="ends within 5 minutes")
    parser.add_argument("--only", default="", help="run the experiments whose name matches")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random moments")
    options = parser.parse_args()
    options.bin = os.path.abspath(options.bin)
    options.random = random.Random(options.seed)
    print(f"seed {options.seed}")
    failed = 0
    options.work = tempfile.mkdtemp(prefix="tapline-torture-")
    os.chmod(options.work, 0o755)
    for experiment in EXPERIMENTS:
        if not re.search(options.only, experiment.__name__):
            continue
        print(f"{experiment.__doc__}", flush=True)
        bench = Bench(options, experiment.__name__)
        begin = time.monotonic()
        try:
            experiment(bench, options)
            print(f"  passed in {time.monotonic() - begin:.0f} s", flush=True)
        except LabError as error:
            failed += 1
            print(f"  FAILED: {error} (logs: {bench.folder})", flush=True)
        finally:
            bench.close()
        if not failed:
            shutil.rmtree(bench.folder, ignore_errors=True)
    if not failed:
        shutil.rmtree(options.work, ignore_errors=True)
    print(f"{failed} experiments failed" if failed else "every packet once")
    return 1 if failed else 0


sys.exit(main())
