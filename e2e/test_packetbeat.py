"""Facts about Packetbeat's documents, held against `tapline analyze`: those of the protocols that Tapline decodes. The facts are no part of the repository."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
FACTS = os.path.join(ROOT, "..", "shared", "packetbeat")
TAPLINE = os.path.abspath(os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release", "tapline"))
# What has no decoder yet: a case whose name, group or capture has one of these words is left out. A new decoder takes its word away.
TO_COME = ("amqp", "cassandra", "dhcp", "memcache", "mongo", "mysql", "nfs", "pgsql", "redis", "thrift", "tls")


@unittest.skipUnless(os.path.exists(os.path.join(FACTS, "cases.json")), "the facts are not there")
class Facts(unittest.TestCase):
    def test_every_fact_of_the_protocols_that_are_decoded_holds(self):
        with open(os.path.join(FACTS, "cases.json"), encoding="utf-8") as file:
            cases = json.load(file)
        chosen = [case for case in cases if not any(word in " ".join((case["id"], case["group"], case["pcap"])).lower() for word in TO_COME)]
        self.assertGreater(len(chosen), 40)
        with tempfile.TemporaryDirectory() as work:
            # The checker looks for captures beside the cases.
            for name in os.listdir(FACTS):
                if name != "cases.json":
                    os.symlink(os.path.abspath(os.path.join(FACTS, name)), os.path.join(work, name))
            path = os.path.join(work, "cases.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(chosen, file)
            done = subprocess.run([sys.executable, os.path.join(work, "check.py"), "--tapline", TAPLINE, "-v", path],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(f"cases {len(chosen)} of {len(chosen)} hold", done.stdout)


if __name__ == "__main__":
    unittest.main()
