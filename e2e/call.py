"""A SIP call with audio between two real programs (sipp), over a wire that loses a counted number of its RTP packets."""
import os
import random
import re
import subprocess

from lab import LabError, bounded, end

SCENARIO = os.path.join(os.path.dirname(__file__), "scenarios", "call.xml")
AUDIO_SECONDS = 4
PACKETS = AUDIO_SECONDS * 50


class Call:
    """sipp calls from the namespace; this machine's sipp answers and sends the audio back. nftables in the namespace drops every
    twentieth RTP packet of the caller before it reaches the wire, and counts what it dropped."""

    def __init__(self, lab, folder):
        self.lab, self.folder = lab, folder
        self.audio = os.path.join(folder, "audio.alaw")
        with open(self.audio, "wb") as out:
            out.write(random.Random(5).randbytes(8_000 * AUDIO_SECONDS))
        scenario = os.path.join(folder, "call.xml")
        with open(SCENARIO, encoding="utf-8") as template, open(scenario, "w", encoding="utf-8") as out:
            out.write(template.read().replace("[audio]", self.audio))
        # At the device, where the sender is not told: one that gets an error stops talking.
        ruleset = (f'table netdev demo {{ chain out {{ type filter hook egress device "{lab.peer_link}" priority 0; '
                   "udp dport 16000 numgen inc mod 20 == 10 counter drop; }\n}")
        bounded(["ip", "netns", "exec", lab.namespace, "nft", ruleset], check=True)
        self.answering = self.sipp([], "-sn", "uas", "-i", lab.address, "-p", "5060", "-mp", "16000", "-rtp_echo", "-nostdin")
        self.scenario = scenario
        self.calls = []

    def sipp(self, prefix, *words):
        try:
            return subprocess.Popen([*prefix, "sipp", *words], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                    start_new_session=True)
        except FileNotFoundError:
            raise LabError("sipp is not installed (packaging/setup-debian demo installs it)") from None

    def start(self):
        """Begins a call; it lasts five seconds."""
        self.calls.append(self.sipp(["ip", "netns", "exec", self.lab.namespace], "-sf", self.scenario, "-s", "bob", "-i", self.lab.peer, "-p", "5060",
                                    "-mi", self.lab.peer, "-mp", "6000", "-m", "1", "-nostdin", f"{self.lab.address}:5060"))

    def talking(self):
        return bool(self.calls) and self.calls[-1].poll() is None

    def wait(self):
        """Waits for the end of the last call."""
        if self.calls:
            try:
                self.calls[-1].wait(15)
            except subprocess.TimeoutExpired:
                raise LabError("the call did not end within 15 s") from None

    def dropped(self):
        """How many RTP packets nftables dropped so far."""
        listing = bounded(["ip", "netns", "exec", self.lab.namespace, "nft", "list", "table", "netdev", "demo"], check=True)
        return int(re.search(r"counter packets (\d+)", listing).group(1))

    def close(self):
        for process in (*self.calls, self.answering):
            end(process)

    def check(self, events):
        """Gives what is wrong with the events about the calls."""
        failures = []
        failed = [call.returncode for call in self.calls if call.returncode]
        if failed:
            failures.append(f"{len(failed)} of {len(self.calls)} calls failed")
        final = [event for event in events if event["type"] == "rtp" and event["rtp"].get("final")]
        spoken = [event for event in final if event["source"]["ip"] == self.lab.peer]
        echoed = [event for event in final if event["source"]["ip"] == self.lab.address]
        dropped = self.dropped()
        for name, streams in (("caller's", spoken), ("echoed", echoed)):
            if len(streams) != len(self.calls):
                failures.append(f"{len(self.calls)} calls, but {len(streams)} final events about the {name} audio")
            lost = sum(event["rtp"]["lost"] for event in streams)
            if lost != dropped:
                failures.append(f"nftables dropped {dropped} RTP packets, the events about the {name} audio say {lost} were lost")
        invites = [event for event in events if event["type"] == "sip" and event.get("sip", {}).get("method") == "INVITE"]
        if len(invites) < len(self.calls):
            failures.append(f"{len(self.calls)} calls, but {len(invites)} sip events with an INVITE")
        return failures

    @staticmethod
    def quality(events):
        """A line per stream of audio."""
        lines = []
        for event in events:
            rtp = event.get("rtp", {})
            if rtp.get("final"):
                lines.append(f"{event['source']['ip']} -> {event['destination']['ip']}  {rtp.get('codec', '?')}  {rtp['packets']} packets, "
                             f"{rtp['lost']} lost, jitter {rtp['jitter']['mean_ms']} ms, MOS {rtp.get('mos', '-')}")
        return "\n".join(lines) or "(no stream)"
