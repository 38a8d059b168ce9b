"""Quality without the conversation: what a store policy keeps from the disk is on no disk, and yet measured and accounted for."""
import base64
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import zstandard

from lab import Lab, Programs, bounded, closes, end, wait_for
from test_up import children_of

BINARIES = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(os.path.dirname(__file__), "..", "target")), "release")
SPEAK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "speak.py")
ROOT = os.geteuid() == 0
SIP, CALLER_MEDIA, CALLED_MEDIA = 5060, 16000, 16100
PACKETS = 150
SIGNALS = 5
MAGIC = b"\x28\xb5\x2f\xfd"


class Conversation:
    """A SIP call from `caller` to `called` with audio both ways, and how to recognise the audio wherever it is."""

    def __init__(self, caller, called, packets=PACKETS, size=160, every=0.02):
        self.caller, self.called, self.every = caller, called, every
        audio = random.Random(20)
        self.spoken = {name: [audio.randbytes(size) for _ in range(packets)] for name in (caller, called)}
        self.over = 0.3 + packets * every
        self.needles = set()
        for payload in self.spoken[caller] + self.spoken[called]:
            for at in (0, size // 2, size - 12):
                self.needles.add(payload[at:at + 12])
            self.needles.add(payload[:12].hex().encode())
            self.needles.update(base64.b64encode(payload[skip:skip + 12]) for skip in range(3))

    def script(self, start):
        """What both ends do, for speak.py."""
        request = lambda method, cseq: self.message(f"{method} sip:bob@{self.called} SIP/2.0", method, cseq, self.caller, CALLER_MEDIA)
        answer = lambda method, cseq: self.message("SIP/2.0 200 OK", method, cseq, self.called, CALLED_MEDIA)
        calling = [(0.0, 0, self.called, SIP, request("INVITE", 1)), (0.2, 0, self.called, SIP, request("ACK", 1)),
                   *self.audio(self.caller, self.called, CALLED_MEDIA, 0x11111111), (self.over + 0.1, 0, self.called, SIP, request("BYE", 2))]
        answering = [(0.1, 0, self.caller, SIP, answer("INVITE", 1)), *self.audio(self.called, self.caller, CALLER_MEDIA, 0x22222222),
                     (self.over + 0.2, 0, self.caller, SIP, answer("BYE", 2))]
        ends = lambda ip, media, send: {"bind": [[ip, SIP], [ip, media]], "start": start, "end": start + self.over + 0.5,
                                        "send": [[*words[:4], words[4].hex()] for words in send]}
        return ends(self.caller, CALLER_MEDIA, calling), ends(self.called, CALLED_MEDIA, answering)

    def audio(self, speaker, to, port, ssrc):
        for number, payload in enumerate(self.spoken[speaker]):
            header = struct.pack(">BBHII", 0x80, 8, 1000 + number, 8000 + 160 * number, ssrc)
            yield 0.3 + self.every * number, 1, to, port, header + payload

    def message(self, first, method, cseq, media_ip, media_port):
        session = ""
        if method == "INVITE":
            session = "\r\n".join(["v=0", f"o=- 1 1 IN IP4 {media_ip}", "s=-", f"c=IN IP4 {media_ip}", "t=0 0",
                                   f"m=audio {media_port} RTP/AVP 8", "a=rtpmap:8 PCMA/8000", ""])
        tag = ";tag=b" if first.startswith("SIP/2.0") or method != "INVITE" else ""
        return "\r\n".join([first, f"Via: SIP/2.0/UDP {self.caller}:{SIP};branch=z9hG4bK{cseq}{'a' if method == 'ACK' else ''}",
                            f"From: <sip:alice@{self.caller}>;tag=a", f"To: <sip:bob@{self.called}>{tag}", f"Call-ID: store@{self.caller}",
                            f"CSeq: {cseq} {method}", f"Contact: <sip:alice@{self.caller}>", *(["Content-Type: application/sdp"] if session else []),
                            f"Content-Length: {len(session)}", "", session]).encode()


def decompressed(data):
    """All zstd frames in some bytes, wherever they begin and whether they are whole or not, decompressed."""
    at = data.find(MAGIC)
    while at >= 0:
        reader, out = zstandard.ZstdDecompressor().decompressobj(), b""
        try:
            for begin in range(at, len(data), 1024):
                out += reader.decompress(data[begin:begin + 1024])
                if reader.eof:
                    break
        except zstandard.ZstdError:
            pass
        yield out
        at = data.find(MAGIC, at + 4)


def holders(folder, needles):
    """Files below a folder that hold any of the needles, compressed or not; and how many bytes were looked at."""
    found, looked_at = [], 0
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            if not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                data = file.read()
            for text in (data, *decompressed(data)):
                looked_at += len(text)
                if any(needle in text for needle in needles):
                    found.append(os.path.relpath(path, folder))
                    break
    return found, looked_at


class Search(unittest.TestCase):
    def test_what_is_compressed_is_found(self):
        needle = b"A CONVERSATION"
        frame = zstandard.ZstdCompressor(level=19).compress(b"A CON" * 500 + needle * 500 + b"VERSATION" * 500)
        self.assertNotIn(needle, frame)
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "file"), "wb") as out:
                out.write(b"before" + MAGIC + frame + b"behind")
            self.assertEqual(holders(folder, {needle})[0], ["file"])
            self.assertEqual(holders(folder, {b"ANOTHER"})[0], [])


class Mistakes(unittest.TestCase):
    def test_a_wrong_policy_is_found_beforehand(self):
        for key, value, said in (("gw", 'filter = "porrt 5060"', "porrt 5060"), ("gw", 'store = "some"', "headers"), ('"g w"', "store = false", "g w")):
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
                config.write(f"[collector.sources.{key}]\n{value}\n")
                config.flush()
                done = subprocess.run([os.path.join(BINARIES, "tapline"), "collector", "--config", config.name, "--check-config"],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
            message = done.stderr.decode()
            with self.subTest(value):
                self.assertEqual(done.returncode, 2, message)
                self.assertIn("collector.sources.", message)
                self.assertIn(said, message)


@unittest.skipUnless(ROOT, "needs root: it makes a network namespace and captures")
class Store(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        os.chmod(folder.name, 0o755)
        self.addCleanup(folder.cleanup)
        self.folder, self.data = folder.name, os.path.join(folder.name, "data")
        os.mkdir(self.data)
        self.lab = Lab()
        self.addCleanup(self.lab.down)
        self.lab.up(servers=False)
        self.call = Conversation(self.lab.address, self.lab.peer)
        self.programs = Programs(os.path.abspath(BINARIES), self.data)
        self.addCleanup(self.programs.kill)

    def start(self, policy):
        config = os.path.join(self.folder, "tapline.toml")
        with open(config, "w", encoding="utf-8") as out:
            out.write(policy)
        self.programs.start_up("-i", self.lab.link, "--config", config)

    def begin(self):
        """Begins the call; gives when, and what waits for its end."""
        paths = [os.path.join(self.folder, name) for name in ("caller.json", "called.json")]
        start = time.time() + 1.0
        for path, script in zip(paths, self.call.script(start)):
            with open(path, "w", encoding="utf-8") as out:
                json.dump(script, out)
        caller = subprocess.Popen([sys.executable, SPEAK, paths[0]], start_new_session=True)
        self.addCleanup(end, caller)
        called = self.lab.inside(sys.executable, SPEAK, paths[1])
        return start, lambda: self.assertEqual((caller.wait(20), called.wait(20)), (0, 0))

    def settled(self):
        """The row of the balance once it closes with everything accounted for."""
        def row():
            rows = self.programs.balance_rows()
            return rows[0] if rows and closes(rows[0]) and rows[0]["captured_packets"] >= 2 * PACKETS + SIGNALS else None
        return wait_for("the balance to close", row)

    def grabbed(self, expression):
        """Lengths of the stored packets that a filter takes."""
        path = os.path.join(self.folder, "grabbed.pcapng")
        self.programs.tapline("grab", expression, "-w", path)
        return [int(line) for line in bounded(["tshark", "-r", path, "-T", "fields", "-e", "frame.cap_len"], check=True).split()]

    def holders(self):
        found, looked_at = holders(self.data, self.call.needles)
        self.assertGreater(looked_at, 1000, "nothing was looked at")
        return found

    def check_quality(self):
        """What is said of the streams: all of both, and none lost."""
        events = self.programs.events()
        final = [event for event in events if event["type"] == "rtp" and event["rtp"].get("final")]
        self.assertEqual(sorted((event["source"]["ip"], event["rtp"]["ssrc"]) for event in final),
                         sorted([(self.lab.address, "0x11111111"), (self.lab.peer, "0x22222222")]))
        for event in final:
            quality = event["rtp"]
            self.assertEqual((quality["packets"], quality["expected"], quality["lost"]), (PACKETS, PACKETS, 0))
            self.assertEqual(quality["codec"].upper(), "PCMA")
            self.assertFalse(quality.get("lost_by_capture"))
            self.assertFalse(event["tapline"].get("capture_loss"))
        self.assertTrue([event for event in events if event["type"] == "sip" and event["sip"].get("method") == "INVITE"])

    def run_call(self, policy):
        """Plays a call under a policy up to the end of all programs; gives the row of the balance and what was grabbed."""
        self.start(policy)
        _, talk = self.begin()
        talk()
        row = self.settled()
        grabbed = {name: self.grabbed(f"udp port {port}") for name, port in (("signals", SIP), ("media", CALLER_MEDIA))}
        held = self.holders()
        self.assertEqual(self.programs.end_up(), [])
        self.check_quality()
        return row, grabbed, held + self.holders()

    def test_signalling_is_kept_and_media_is_not(self):
        row, grabbed, held = self.run_call('[collector.sources."*"]\nstore = false\nfilter = "not port 5060"\n')
        self.assertEqual(held, [])
        self.assertEqual((len(grabbed["signals"]), len(grabbed["media"])), (SIGNALS, 0))
        self.assertEqual(row["archived_packets"], SIGNALS)
        self.assertEqual(row["not_stored_packets"], row["captured_packets"] - SIGNALS)
        self.assertEqual(row["dropped_packets"], 0)

    def test_of_media_only_headers_are_kept(self):
        row, grabbed, held = self.run_call('[collector.sources."*"]\nstore = "headers"\nfilter = "udp portrange 16000-16200"\n')
        self.assertEqual(held, [])
        self.assertEqual(len(grabbed["signals"]), SIGNALS)
        self.assertEqual(grabbed["media"], [14 + 20 + 8] * 2 * PACKETS)
        self.assertEqual((row["archived_packets"], row["not_stored_packets"]), (row["captured_packets"], 0))

    def test_nothing_is_kept(self):
        row, grabbed, held = self.run_call('[collector.sources."*"]\nstore = false\n')
        self.assertEqual(held, [])
        self.assertEqual(grabbed, {"signals": [], "media": []})
        self.assertEqual((row["archived_packets"], row["not_stored_packets"]), (0, row["captured_packets"]))

    def test_everything_is_kept_and_would_be_found(self):
        row, grabbed, held = self.run_call('[collector.sources."*"]\nstore = true\n')
        self.assertTrue(any(path.startswith("archive/") for path in held), held)
        self.assertEqual((len(grabbed["signals"]), len(grabbed["media"])), (SIGNALS, 2 * PACKETS))
        self.assertEqual((row["archived_packets"], row["not_stored_packets"]), (row["captured_packets"], 0))

    def test_what_a_slow_analyzer_lost_for_good_is_no_loss_of_the_network(self):
        self.call = Conversation(self.lab.address, self.lab.peer, packets=5000, size=1000, every=0.001)
        self.start('[collector]\nsubscriber_queue = "1B"\n[collector.sources."*"]\nstore = false\nfilter = "not port 5060"\n')
        analyzer = children_of(self.programs.process.pid)["analyzer"]
        start, talk = self.begin()
        time.sleep(max(0.0, start + 1.3 - time.time()))
        os.kill(analyzer, signal.SIGSTOP)
        try:
            time.sleep(2.5)
        finally:
            os.kill(analyzer, signal.SIGCONT)
        talk()
        self.settled()
        self.assertEqual(self.programs.end_up(), [])
        final = [event for event in self.programs.events() if event["type"] == "rtp" and event["rtp"].get("final")]
        self.assertEqual(len(final), 2)
        for event in final:
            quality = event["rtp"]
            self.assertEqual((quality["expected"], quality["packets"] + quality["lost"]), (5000, 5000))
            self.assertGreater(quality["lost"], 100, "nothing was lost: the test shows nothing")
            self.assertEqual((quality["lost_by_capture"], quality["loss"]["percent"]), (quality["lost"], 0))


if __name__ == "__main__":
    unittest.main()
