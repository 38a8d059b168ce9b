"""A small network of its own for tests, and Tapline's programs on it. Ends what it started, by process id."""
import json
import os
import random
import re
import subprocess
import time


class LabError(Exception):
    """Something the lab needs did not work; the text says what."""


def bounded(command, seconds=10, check=False):
    """Runs a command for a bounded time and gives its standard output."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=seconds)
    except FileNotFoundError:
        raise LabError(f"{command[0]} is not installed (packaging/setup-debian demo installs it)") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{' '.join(command)}: no end after {seconds} s") from None
    if check and done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip() or done.returncode}")
    return done.stdout.decode(errors="replace")


def wait_for(what, condition, seconds=15.0):
    """Waits until `condition()` is true; gives its value."""
    ends = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > ends:
            raise LabError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.05)


class Lab:
    """A namespace with a DNS and an HTTP server, joined to this machine by a veth pair."""

    def __init__(self):
        number = random.SystemRandom().randrange(1, 250 * 64)
        self.namespace = f"tapline-{number}"
        self.link, self.peer_link = f"tl{number}a", f"tl{number}b"
        net = f"10.203.{number // 64}.{number % 64 * 4}".rsplit(".", 1)
        self.address, self.peer = f"{net[0]}.{int(net[1]) + 1}", f"{net[0]}.{int(net[1]) + 2}"
        self.processes = []

    def up(self, servers=True):
        if os.geteuid() != 0:
            raise LabError("the demo makes a network namespace and captures: run it as root (sudo make demo)")
        ip = lambda *words: bounded(["ip", *words], check=True)
        ip("netns", "add", self.namespace)
        ip("link", "add", self.link, "type", "veth", "peer", "name", self.peer_link, "netns", self.namespace)
        for words in (["addr", "add", f"{self.address}/30", "dev", self.link], ["link", "set", self.link, "up"]):
            ip(*words)
        for words in (
            ["addr", "add", f"{self.peer}/30", "dev", self.peer_link],
            ["link", "set", self.peer_link, "up"],
            ["link", "set", "lo", "up"],
        ):
            ip("-n", self.namespace, *words)
        if servers:
            self.start_servers()

    def start_servers(self):
        """A DNS server for demo.test and an HTTP server, both on the far end."""
        self.inside("dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root",
                    f"--listen-address={self.peer}", "--bind-interfaces", "--pid-file=", "--local=/demo.test/", "--mx-host=demo.test,mail.demo.test,10",
                    "--txt-record=demo.test,hello from the demo",
                    *(f"--host-record=host{n}.demo.test,192.0.2.{n + 1},2001:db8::{n + 1}" for n in range(7)))
        self.inside("python3", "-m", "http.server", "8080", "--bind", self.peer, "--directory", os.path.dirname(__file__))
        wait_for("the HTTP server", lambda: "200" in bounded(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://{self.peer}:8080/"]))
        wait_for("the DNS server", lambda: "192.0.2.1" in bounded(["dig", "+short", "+tries=1", "+time=1", f"@{self.peer}", "host0.demo.test"]))

    def inside(self, *command):
        """Starts a program in the namespace."""
        command = ["ip", "netns", "exec", self.namespace, *command]
        try:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        except FileNotFoundError:
            raise LabError("iproute2 is not installed (packaging/setup-debian demo installs it)") from None
        self.processes.append(process)
        return process

    def down(self):
        for process in self.processes:
            end(process)
        for words in (["link", "del", self.link], ["netns", "del", self.namespace]):
            subprocess.run(["ip", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def end(process, seconds=5):
    """Ends a process the gentle way, then the other."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Programs:
    """Tapline's programs on one data directory."""

    def __init__(self, binaries, data):
        self.binaries, self.data = binaries, data
        self.log = os.path.join(data, "up.log")
        self.process = None

    def command(self, *words):
        return [os.path.join(self.binaries, "tapline"), *words]

    def tapline(self, *words, seconds=30):
        """Runs a subcommand against this data directory."""
        return bounded(self.command(*words, "--data", self.data), seconds, check=True)

    def start_up(self, *words):
        """Starts `tapline up` and waits until it captures."""
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command("up", *words, "--data", self.data), stdout=log, stderr=log, start_new_session=True)

        def capturing():
            if self.process.poll() is not None:
                raise LabError(f"tapline up ended with {self.process.returncode}: {self.log_tail()}")
            return "capturing" in self.log_tail(10**6)

        wait_for("tapline up to capture", capturing)
        return self.process

    def page(self):
        """Where `tapline up` says that the page is."""
        return wait_for("the page's address", lambda: re.findall(r"tapline: the page is at (\S+)", self.log_tail(10**6)))[-1]

    def log_tail(self, size=2000):
        with open(self.log, "rb") as log:
            return log.read()[-size:].decode(errors="replace").strip()

    def end_up(self):
        """Ends `tapline up` as Ctrl-C does; gives what is wrong with how it ended."""
        self.process.send_signal(2)
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            return ["tapline up did not end within 30 s of Ctrl-C"]
        return [f"tapline up ended with {status}: {self.log_tail()}"] if status else []

    def kill(self):
        if self.process:
            end(self.process)

    def balance(self):
        return json.loads(self.tapline("status", "--balance", "--json"))

    def balance_rows(self):
        """One row per source and epoch."""
        return rows(self.balance())

    def check_balance(self):
        """Gives what is wrong with the balance."""
        try:
            wait_for("the balance to close with nothing in flight", lambda: all(closes(row) for row in self.balance_rows()), 10)
        except LabError as error:
            return [f"{error}: {json.dumps(self.balance())}"]
        dropped = [row for row in self.balance_rows() if row.get("dropped_packets")]
        return [f"packets were dropped: {dropped}"] if dropped else []

    def events(self):
        """All events written so far, in order."""
        found = []
        for folder, _, names in sorted(os.walk(os.path.join(self.data, "events"))):
            for name in sorted(names):
                with open(os.path.join(folder, name), encoding="utf-8") as lines:
                    found += [json.loads(line) for line in lines]
        return found

    def event_counts(self):
        counts = {}
        for event in self.events():
            key = (event["type"], event.get("status", ""))
            counts[key] = counts.get(key, 0) + 1
        return "\n".join(f"{name:6} {status:14} {count}" for (name, status), count in sorted(counts.items()))

    def newest_events(self, count):
        return "\n".join(line_of(event) for event in self.events()[-count:])

    def grab(self):
        """The command that gets the packets of an event, and what tshark says of them; `up` may have ended."""
        events = [event for event in self.events() if event["type"] == "dns"] or self.events()
        if not events:
            return "(no event)"
        query = f"community-id {events[-1].get('network', {}).get('community_id')}"
        archive = os.path.join(self.data, "archive")
        path = os.path.join(self.data, "packets.pcapng")
        bounded(self.command("grab", query, "-w", path, "--archive", archive), 30, check=True)
        shown = bounded(["tshark", "-t", "ud", "-r", path], 30, check=True)
        return f"tapline grab '{query}' -w packets.pcapng --archive {archive}\n{shown}"


def rows(balance):
    return balance["balance"] if isinstance(balance, dict) else balance


def closes(row):
    return row["closes"] and row["in_flight_packets"] == 0


def line_of(event):
    side = lambda end: f"{event.get(end, {}).get('ip', '')}:{event.get(end, {}).get('port', '')}"
    what = event.get("query") or event.get("path") or event.get("flow", {}).get("id", "")[:20]
    return f"{event['@timestamp']}  {event['type']:5} {side('source')} -> {side('destination')}  {event.get('status', '')} {what}"
