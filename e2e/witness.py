"""An independent observer: tcpdump at the other end of the wire, read by tshark. What it saw must be in the archive."""
import collections
import os
import signal
import subprocess
import tempfile

from lab import bounded, wait_for


CLOCKS = 0.001  # s; how far the times of one packet at two observers, and in two resolutions, may lie apart.


def frames(path):
    """The packets of a capture file, each as its time and what tshark reads of its whole frame."""
    fields = ["frame.time_epoch", "frame.len", "frame.md5_hash"]
    lines = bounded(["tshark", "-r", path, "-o", "frame.generate_md5_hash:TRUE", "-T", "fields", *(word for f in fields for word in ("-e", f))],
                    seconds=120, check=True)
    return [(float(time), digest) for time, digest in (line.split("\t", 1) for line in lines.splitlines() if line)]


def digests(path):
    """A multiset of the packets of a capture file."""
    return collections.Counter(digest for _, digest in frames(path))


class Witness:
    """tcpdump in the lab's namespace."""

    def __init__(self, lab):
        self.folder = tempfile.mkdtemp(prefix="tapline-witness-")
        self.path = os.path.join(self.folder, "witness.pcap")
        self.packets = 0
        self.log = os.path.join(self.folder, "log")
        self.process = lab.inside("tcpdump", "-i", lab.peer_link, "-s", "0", "-U", "-w", self.path, "--immediate-mode", "-Z", "root")
        wait_for("the witness to begin", lambda: os.path.exists(self.path) and os.path.getsize(self.path) >= 24)

    def stop(self):
        if self.process.poll() is None:
            wait_for_silence()
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def compare(self, grabbed):
        """Gives what the archive lacks of what the witness saw, and what it has twice."""
        seen, have = frames(self.path), frames(grabbed)
        self.packets = len(seen)
        failures = []
        if self.packets < 20:
            failures.append(f"the witness saw only {self.packets} packets")
            return failures
        count = lambda packets: collections.Counter(digest for _, digest in packets)
        missing = count(seen) - count(have)
        if missing:
            failures.append(f"{sum(missing.values())} of {self.packets} packets on the wire are not in the archive: {list(missing)[:5]}")
        # The archive may hold more, and some of it alike (a router solicitation is repeated byte by byte): what came before the
        # witness began or after it ended. But in its time no packet more often than there.
        since, until = min(seen)[0] - CLOCKS, max(seen)[0] + CLOCKS
        twice = count(packet for packet in have if since <= packet[0] <= until) - count(seen)
        if twice:
            failures.append(f"{sum(twice.values())} packets are more often in the archive than on the wire: {list(twice)[:5]}")
        return failures

    def check_events(self, events, traffic):
        """Gives the events that the traffic must give and that are not there."""
        failures = []
        by_type = collections.defaultdict(list)
        for event in events:
            by_type[event["type"]].append(event)
        ids = collections.Counter(event["_id"] for event in events)
        twice = [event_id for event_id, count in ids.items() if count > 1]
        if twice:
            failures.append(f"{len(twice)} events stand twice, such as {twice[0]}")
        answered = len([event for event in by_type["icmp"] if event.get("status") == "OK" and "response" in event.get("icmp", {})])
        if answered != traffic.pings - traffic.failed:
            failures.append(f"{traffic.pings - traffic.failed} pings were answered, {answered} icmp events say so")
        looked_up = collections.Counter((question["type"], question["name"]) for question in
                                        (event["dns"]["question"] for event in by_type["dns"]))
        wanted = collections.Counter((kind, name) for kind, name, tcp in traffic.lookups)
        missing = wanted - looked_up
        if missing:
            failures.append(f"{sum(missing.values())} of {sum(wanted.values())} lookups have no dns event: {list(missing)[:5]}")
        answers = collections.Counter(event["http"]["response"]["status_code"] for event in by_type["http"] if "response" in event["http"])
        wanted = collections.Counter(200 if path == "/" else 404 for path in traffic.requests)
        if answers != wanted:
            failures.append(f"HTTP requests by status: {dict(wanted)}, but http events by status: {dict(answers)}")
        flows = {event["network"].get("community_id") for event in by_type["flow"]}
        ids_seen = set(bounded(["tshark", "-r", self.path, "-Y", "tcp.port == 8080", "-T", "fields", "-e", "communityid",
                                "--enable-protocol", "communityid"], check=True).split())
        if not ids_seen:
            failures.append("the witness saw no HTTP flow")
        if ids_seen - flows:
            failures.append(f"{len(ids_seen - flows)} of {len(ids_seen)} HTTP flows have no flow event")
        return failures


def wait_for_silence():
    import time
    time.sleep(0.5)
