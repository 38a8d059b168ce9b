"""An independent observer: tcpdump at the other end of the wire, read by tshark. What it saw must be in the archive."""
import collections
import os
import signal
import subprocess
import tempfile

from lab import bounded, wait_for


def digests(path):
    """A multiset of the packets of a capture file, each as what tshark reads of its whole frame."""
    fields = ["frame.len", "frame.md5_hash"]
    lines = bounded(["tshark", "-r", path, "-o", "frame.generate_md5_hash:TRUE", "-T", "fields", *(word for f in fields for word in ("-e", f))],
                    seconds=120, check=True)
    return collections.Counter(line for line in lines.splitlines() if line)


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
        seen, have = digests(self.path), digests(grabbed)
        self.packets = sum(seen.values())
        failures = []
        if self.packets < 20:
            failures.append(f"the witness saw only {self.packets} packets")
        missing = seen - have
        if missing:
            failures.append(f"{sum(missing.values())} of {self.packets} packets on the wire are not in the archive: {list(missing)[:5]}")
        # The archive may hold more: what came before the witness began or after it ended. But no packet more often than there.
        twice = [digest for digest, count in have.items() if digest in seen and count > seen[digest]]
        if twice:
            failures.append(f"{len(twice)} packets are more often in the archive than on the wire: {twice[:5]}")
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
