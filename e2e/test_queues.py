"""Events in a real Redis and a real Kafka: every one there, whatever is killed; what is there twice is counted."""
import collections
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import certificates
import lookups
from lab import LabError, bounded, end, wait_for
from search import CACHE, free_port, java
from test_search import TAPLINE, Chain

HERE = os.path.dirname(os.path.abspath(__file__))
COUNT = int(os.environ.get("TAPLINE_EVENTS", "6000"))


def words(name, **values):
    """Settings of an output as arguments."""
    values = {"enabled": True, "bulk.time": "100ms", **values}
    return [word for key, value in values.items() for word in ("--set", f"analyzer.output.{name}.{key}={json.dumps(value)}")]


class Server:
    """A server that can be killed and started again on its data."""

    def __init__(self, case):
        self.port, self.process = free_port(), None
        self.home = tempfile.mkdtemp(prefix="tapline-queue-")
        case.addCleanup(self.end)

    def path(self, name):
        return os.path.join(self.home, name)

    def run(self, command, environment=None):
        with open(os.path.join(self.home, "log"), "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            wait_for("the server", self.answers, 40)
        except LabError as error:
            with open(os.path.join(self.home, "log"), encoding="utf-8", errors="replace") as log:
                raise LabError(f"{error}: {log.read()[-1500:]}") from None
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self):
        if self.process:
            end(self.process)
        shutil.rmtree(self.home, ignore_errors=True)


class Redis(Server):
    """With TLS it asks for a client certificate; the files are in its home."""

    def __init__(self, case, tls=False):
        super().__init__(case)
        self.tls, self.options = (), ()
        if tls:
            os.chmod(self.home, 0o755)
            for name in ("ca", "other"):
                certificates.authority(self.home, name)
            for name in ("server", "client"):
                certificates.issue(self.home, name)
            self.tls = ("--tls-port", str(self.port), "--port", "0", "--tls-ca-cert-file", self.path("ca.pem"), "--tls-cert-file", self.path("server.pem"),
                        "--tls-key-file", self.path("server.key"), "--tls-auth-clients", "yes")
            self.options = ("--tls", "--cacert", self.path("ca.pem"), "--cert", self.path("client.pem"), "--key", self.path("client.key"))

    def start(self):
        return self.run(["redis-server", *(self.tls or ("--port", str(self.port))), "--bind", "127.0.0.1", "--dir", self.home, "--save", "",
                         "--appendonly", "yes", "--appendfsync", "always", "--logfile", ""])

    def answers(self):
        return self.ask("ping").strip() == "PONG"

    def ask(self, *command):
        return bounded(["redis-cli", "-h", "localhost", "-p", str(self.port), *self.options, *command], 30)


class Kafka(Server):
    """A broker whose packages are kept below target/servers; another name than its address is what it advertises."""

    def __init__(self, case, **settings):
        super().__init__(case)
        self.controller, self.settings, self.more = free_port(), settings, []
        self.jdk = java(17)
        self.environment = {**os.environ, "JAVA_HOME": self.jdk, "PATH": f"{self.jdk}/bin:{os.environ['PATH']}"}

    @staticmethod
    def missing():
        """Why it cannot be had here; None if it can."""
        if not java(17):
            return "Kafka needs JDK 17, which is not installed"
        if not shutil.which("mvn") and not os.path.exists(os.path.join(CACHE, "kafka-4.0.0", "ready-4.0.0")):
            return "Kafka is fetched with maven, which is not installed"
        return None if shutil.which("kcat") else "kcat is not installed (packaging/setup-debian test installs it)"

    def start(self):
        run = os.path.join(HERE, "servers", "kafka", "run")
        cache = os.path.join(CACHE, "kafka-4.0.0")
        if not os.path.exists(os.path.join(cache, "ready-4.0.0")):
            subprocess.run([run, cache, "0", "0"], timeout=280, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           env={**self.environment, "FETCH_ONLY": "1"})
        for name in ("lib", "ready-4.0.0"):
            if not os.path.lexists(os.path.join(self.home, name)):
                os.symlink(os.path.abspath(os.path.join(cache, name)), os.path.join(self.home, name))
        more = [f"{name.replace('_', '.')}={str(value).format(port=self.port)}" for name, value in self.settings.items()]
        return self.run([run, self.home, str(self.port), str(self.controller), *more, *self.more], self.environment)

    def answers(self):
        return "tapline-test" in self.ask("-L", "-t", "tapline-test", "-m", "2")

    def ask(self, *words):
        return bounded(["kcat", "-b", f"127.0.0.1:{self.port}", *words], 30)

    def read(self, topic):
        """All messages: partition, key and event of each."""
        found = []
        for line in self.ask("-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p\\t%k\\t%s\\n").splitlines():
            partition, key, text = line.split("\t", 2)
            found.append((int(partition), key, json.loads(text)))
        return found


class SecureKafka(Kafka):
    """One that also listens with TLS and SASL at `sasl`, and with TLS and client certificates at `mutual`."""
    PASSWORD = "secret-word"

    def __init__(self, case):
        super().__init__(case)
        self.sasl, self.mutual = free_port(), free_port()
        os.chmod(self.home, 0o755)
        for name in ("ca", "other"):
            certificates.authority(self.home, name)
        for name in ("server", "client"):
            certificates.issue(self.home, name)
        with open(self.path("both.pem"), "w", encoding="utf-8") as out:
            for name in ("server.key", "server.pem"):
                with open(self.path(name), encoding="utf-8") as part:
                    out.write(part.read())
        module = "org.apache.kafka.common.security"
        jaas = {"plain": f'{module}.plain.PlainLoginModule required user_tapline="{self.PASSWORD}";',
                "scram-sha-256": f"{module}.scram.ScramLoginModule required;", "scram-sha-512": f"{module}.scram.ScramLoginModule required;"}
        self.more = [
            f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller},SECURE://127.0.0.1:{self.sasl},MUTUAL://127.0.0.1:{self.mutual}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port},SECURE://localhost:{self.sasl},MUTUAL://localhost:{self.mutual}",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL",
            "listener.name.mutual.ssl.client.auth=required",
            "ssl.keystore.type=PEM", f"ssl.keystore.location={self.path('both.pem')}",
            "ssl.truststore.type=PEM", f"ssl.truststore.location={self.path('ca.pem')}",
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            *(f"listener.name.secure.{name}.sasl.jaas.config={text}" for name, text in jaas.items()),
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS",
            "allow.everyone.if.no.acl.found=true",
        ]

    def start(self):
        super().start()
        self.administer("user", "tapline", self.PASSWORD)
        return self

    def administer(self, *words):
        """See Admin.java."""
        bounded([f"{self.jdk}/bin/java", "-cp", self.path("lib/*"), os.path.join(HERE, "servers", "kafka", "Admin.java"), f"127.0.0.1:{self.port}", *words], 60,
                check=True)


class Queues(unittest.TestCase):
    def begin(self, name, **values):
        """A chain whose events go there, and a capture with lookups."""
        chain = Chain(self)
        chain.start_parts(*words(name, **values))
        return chain

    def captured(self, chain, *numbers):
        for number in numbers:
            path = os.path.join(os.path.dirname(chain.data), f"{number}.pcap")
            lookups.write(path, COUNT, first=number * COUNT)
            chain.capture(path, f"source{number}")
            os.remove(path)

    def delivered(self, chain, name, count, seconds=40):
        """Waits until so many lookups, and the flow of each, are in the files and confirmed by the server."""
        def done():
            status = chain.status()
            return (status and status["ndjson"]["events_written"] >= count and not status[name]["spilled_events"] and not status[name]["failing"]
                    and status[name]["events_written"] >= count)

        try:
            wait_for("everything to be delivered", done, seconds)
        except LabError as error:
            raise LabError(f"{error}\n{chain.status()}\n{chain.log('analyzer')[-1500:]}") from None
        time.sleep(1)
        return chain.status()[name]

    def compare(self, chain, ids, name, at_least):
        """Every event of the files is among the ids; gives how many came again."""
        events = chain.events()
        self.assertGreaterEqual(len(events), at_least)
        found = collections.Counter(ids)
        self.assertEqual(len(set(events) - set(found)), 0, f"events are missing in {name}\n{chain.log('analyzer')[-1500:]}")
        self.assertEqual(len(set(found) - set(events)), 0, f"an event came out of nowhere in {name}")
        again = sum(found.values()) - len(found)
        print(f"\n  {name}: {len(found)} events, {again} of them twice")
        return again

    def interrupted(self, server, chain, name):
        """The server is killed in the middle and is away for a while."""
        self.captured(chain, 0)
        wait_for("some events", lambda: (chain.status() or {}).get(name, {}).get("events_written", 0) > 0)
        server.kill()
        self.captured(chain, 1)
        wait_for("the server to be missed", lambda: chain.status()[name]["failing"], 20)
        time.sleep(1.5)
        server.start()
        return self.delivered(chain, name, 2 * COUNT)


@unittest.skipUnless(shutil.which("redis-server"), "redis-server is not installed (packaging/setup-debian test installs it)")
class InRedis(Queues):
    def killed(self, mode, read, **values):
        server = Redis(self).start()
        chain = self.begin("redis", hosts=[f"127.0.0.1:{server.port}"], mode=mode, **values)
        status = self.interrupted(server, chain, "redis")
        self.assertEqual((status["events_refused"], status["events_dropped"]), (0, 0))
        self.assertGreater(status["failures"], 0)
        again = self.compare(chain, read(server), f"redis {mode}", 2 * COUNT)
        # A portion of 500 may be on its way when the connection breaks.
        self.assertLessEqual(again, 500)
        return server

    def test_list_when_the_server_is_killed(self):
        def read(server):
            lines = server.ask("--raw", "lrange", "tapline", "0", "-1").splitlines()
            return [json.loads(line)["_id"] for line in lines]

        server = self.killed("list", read)
        # A key of another type refuses for good: dead letters, and the others go on.
        chain = self.begin("redis", hosts=[f"127.0.0.1:{server.port}"], mode="stream", key="tapline")
        self.captured(chain, 0)
        wait_for("refusals", lambda: (chain.status() or {}).get("redis", {}).get("events_refused", 0) >= COUNT, 20)
        path = os.path.join(chain.data, "output", "redis", "dead-letters")
        with open(os.path.join(path, os.listdir(path)[0]), encoding="utf-8") as letters:
            self.assertIn("WRONGTYPE", json.loads(next(letters))["reason"])

    def test_stream_when_the_server_is_killed(self):
        def read(server):
            self.assertEqual(sorted(server.ask("--raw", "keys", "*").split()), ["t:dns", "t:flow"])
            found = []
            for kind in ("dns", "flow"):
                words = server.ask("--raw", "xrange", f"t:{kind}", "-", "+").split("\n")
                # Number of the entry, then id, type and event, each with its name before it.
                for at in range(0, len(words) - 6, 7):
                    _, id_name, number, type_name, its_type, event_name, event = words[at:at + 7]
                    self.assertEqual((id_name, type_name, its_type, event_name), ("id", "type", kind, "event"))
                    self.assertEqual(json.loads(event)["_id"], number)
                    found.append(number)
            return found

        self.killed("stream", read, key="t:{type}")

    def test_channel_reaches_who_listens(self):
        server = Redis(self).start()
        server.ask("config", "set", "requirepass", "secret word")
        with open(os.path.join(server.home, "heard"), "wb") as heard:
            listener = subprocess.Popen(["redis-cli", "-p", str(server.port), "-a", "secret word", "--no-auth-warning", "--raw", "subscribe", "tapline-dns"],
                                        stdout=heard, stderr=subprocess.DEVNULL)
        self.addCleanup(end, listener)
        wait_for("the listener", lambda: os.path.getsize(os.path.join(server.home, "heard")))
        chain = self.begin("redis", hosts=[f"localhost:{server.port}"], mode="channel", key="tapline-{type}", password="secret word",
                           **{"when.equals.type": "dns"})
        self.captured(chain, 0)

        def ids():
            with open(os.path.join(server.home, "heard"), encoding="utf-8") as lines:
                return [json.loads(line)["_id"] for line in lines if line.startswith("{") and line.endswith("\n")]

        wait_for("all to be heard", lambda: len(ids()) >= COUNT, 20)
        events = {number for number, event in chain.events().items() if event["type"] == "dns"}
        self.assertEqual(sorted(ids()), sorted(events))
        facts = bounded(["curl", "-s", "--unix-socket", f"{chain.data}/run/analyzer.sock", "http://analyzer/status"])
        self.assertEqual(json.loads(facts)["sandbox"]["seccomp"], "enforced")

    def test_tls_with_certificates_on_both_sides(self):
        server = Redis(self, tls=True).start()
        good = {"enabled": True, "ca": server.path("ca.pem"), "certificate": server.path("client.pem"), "key": server.path("client.key")}

        def begin(host="localhost", **values):
            tls = {f"tls.{key}": value for key, value in (good | values).items()}
            return self.begin("redis", hosts=[f"{host}:{server.port}"], **tls)

        def refused(said, **values):
            chain = begin(**values)
            path = os.path.join(os.path.dirname(chain.data), "few.pcap")
            lookups.write(path, 40)
            chain.capture(path, "few")
            wait_for(f"`{said}`", lambda: said in chain.log("analyzer"), 20)
            self.assertEqual(chain.status()["redis"]["events_written"], 0)

        refused("its certificate comes from none of the authorities in tls.ca", ca=server.path("other.pem"))
        refused("certificate not valid for name", host="127.0.0.1")
        refused("it asks for a certificate: set tls.certificate and tls.key", certificate="", key="")
        self.assertEqual(server.ask("llen", "tapline").strip(), "0")
        chain = begin()
        self.interrupted(server, chain, "redis")
        lines = server.ask("--raw", "lrange", "tapline", "0", "-1").splitlines()
        self.assertLessEqual(self.compare(chain, [json.loads(line)["_id"] for line in lines], "redis over TLS", 2 * COUNT), 500)


class InKafka(Queues):
    def setUp(self):
        why = Kafka.missing()
        if why:
            print(f"\nskipped: {why}")
            self.skipTest(why)

    def broker(self, **settings):
        return Kafka(self, num_partitions=3, broker_session_timeout_ms=2000, broker_heartbeat_interval_ms=500, **settings).start()

    def test_when_the_broker_is_killed(self):
        """Within one session of the producer each event is there once, whatever becomes of the broker; after the analyzer was killed, what
        its stored position does not cover comes twice."""
        # Its address is found by a name, behind the sandbox.
        broker = self.broker(advertised_listeners="PLAINTEXT://localhost:{port}")
        chain = self.begin("kafka", hosts=[f"localhost:{broker.port}"], timeout="1s", compression="zstd")
        status = self.interrupted(broker, chain, "kafka")
        self.assertEqual((status["events_refused"], status["events_dropped"]), (0, 0))
        self.assertGreater(status["failures"], 0)
        messages = broker.read("tapline")
        self.assertEqual(self.compare(chain, [event["_id"] for _, _, event in messages], "kafka", 2 * COUNT), 0, "an event is there twice")
        partitions = collections.defaultdict(set)
        for partition, key, event in messages:
            self.assertEqual(key, event.get("network", {}).get("community_id") or event["_id"])
            partitions[key].add(partition)
        self.assertTrue(all(len(found) == 1 for found in partitions.values()), "a flow's events are in one partition")
        self.assertEqual(set().union(*partitions.values()), {0, 1, 2})
        # Now the analyzer is killed, with something on its way.
        self.captured(chain, 2)
        wait_for("some more events", lambda: (chain.status() or {}).get("kafka", {}).get("events_written", 0) > 4 * COUNT)
        chain.kill_analyzer()
        chain.start_analyzer()

        def all_there():
            return len({event["_id"] for event in chain.events().values() if event["type"] == "dns"}) >= 3 * COUNT

        wait_for("the rest", all_there, 20)
        time.sleep(1)
        self.compare(chain, [event["_id"] for _, _, event in broker.read("tapline")], "kafka, after the analyzer was killed", 3 * COUNT)

    def test_tls_sasl_and_a_topic_without_rights(self):
        broker = SecureKafka(self).start()
        with open(broker.path("password"), "w", encoding="utf-8") as out:
            out.write(broker.PASSWORD + "\n")
        os.chmod(broker.path("password"), 0o644)
        tls = {"tls.enabled": True, "tls.ca": broker.path("ca.pem")}
        user = {"user": "tapline", "password_file": broker.path("password"), "sasl.mechanism": "SCRAM-SHA-512"}

        def begin(port, **values):
            return self.begin("kafka", hosts=[f"localhost:{port}"], timeout="2s", **values)

        def few(chain, first):
            path = os.path.join(os.path.dirname(chain.data), "few.pcap")
            lookups.write(path, 40, first=first)
            chain.capture(path, "few")

        def refused(said, port=broker.sasl, **values):
            chain = begin(port, **values)
            few(chain, 0)
            wait_for(f"`{said}`", lambda: said in chain.log("analyzer"), 20)
            self.assertEqual(chain.status()["kafka"]["events_written"], 0)

        refused("its certificate comes from none of the authorities in tls.ca", **tls | user | {"tls.ca": broker.path("other.pem")})
        refused("invalid credentials with SASL mechanism SCRAM-SHA-512", **tls | user | {"password": "wrong", "password_file": ""})
        self.assertNotIn("tapline", broker.ask("-L").replace("tapline-test", ""))
        # Each other way in.
        ways = [(broker.sasl, tls | user | {"sasl.mechanism": "PLAIN"}), (broker.sasl, tls | user | {"sasl.mechanism": "SCRAM-SHA-256"}),
                (broker.mutual, tls | {"tls.certificate": broker.path("client.pem"), "tls.key": broker.path("client.key")})]
        for number, (port, values) in enumerate(ways):
            topic = f"way{number}"
            chain = begin(port, topic=topic, **values)
            few(chain, 100 * number)
            self.delivered(chain, "kafka", 80)
            self.assertEqual(self.compare(chain, [event["_id"] for _, _, event in broker.read(topic)], f"kafka, {values.get('sasl.mechanism', 'certificate')}", 80), 0)
        # A topic that may not be written to holds up no other, and what is held follows by itself.
        broker.administer("deny", "tapline", "t-flow")
        chain = begin(broker.sasl, topic="t-{type}", **tls | user)
        self.captured(chain, 0)
        status = lambda: (chain.status() or {}).get("kafka", {})
        try:
            wait_for("all but the flows", lambda: status().get("events_written") == COUNT and status().get("held_events") == COUNT, 40)
        except LabError as error:
            raise LabError(f"{error}\n{chain.status()}\n{chain.log('analyzer')[-1500:]}") from None
        self.assertEqual(len(broker.read("t-dns")), COUNT)
        broker.administer("allow", "tapline", "t-flow")
        self.delivered(chain, "kafka", 2 * COUNT)
        found = [event["_id"] for kind in ("dns", "flow") for _, _, event in broker.read(f"t-{kind}")]
        self.assertEqual(self.compare(chain, found, "kafka, one topic without rights for a while", 2 * COUNT), 0)

    def test_too_large_and_topics_by_type(self):
        """A broker that takes smaller batches than we make refuses none of the events in them; an event that is too large by itself is put aside."""
        broker = self.broker(message_max_bytes=1200)
        chain = self.begin("kafka", hosts=[f"127.0.0.1:{broker.port}"], topic="t-{type}", compression="none")
        path = os.path.join(os.path.dirname(chain.data), "few.pcap")
        lookups.write(path, 40)
        chain.capture(path, "few")
        wait_for("all to be sent or put aside", lambda: sum((chain.status() or {}).get("kafka", {}).get(name, 0) for name in ("events_written", "events_refused")) >= 80,
                 30)
        status = chain.status()["kafka"]
        there = {event["_id"] for kind in ("dns", "flow") for _, _, event in broker.read(f"t-{kind}")}
        paths = os.path.join(chain.data, "output", "kafka", "dead-letters")
        aside = set()
        for name in os.listdir(paths):
            with open(os.path.join(paths, name), encoding="utf-8") as lines:
                aside |= {json.loads(line)["event"]["_id"] for line in lines}
        self.assertEqual(there | aside, set(chain.events()))
        self.assertFalse(there & aside)
        sizes = {number: len(json.dumps(event)) for number, event in chain.events().items()}
        print(f"\n  kafka: {len(there)} events of up to {max((sizes[number] for number in there), default=0)} bytes taken, {len(aside)} of at least "
              f"{min((sizes[number] for number in aside), default=0)} bytes put aside, {status['failures']} failures")
        self.assertGreater(len(there), 0)


if __name__ == "__main__":
    unittest.main()
