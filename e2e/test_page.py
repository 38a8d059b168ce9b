"""The page in a real Chromium: real traffic appears, filters and links work, packets are the event's own, hostile text stays text."""
import os
import re
import socket
import struct
import subprocess
import tempfile
import time
import unittest

from lab import Lab, Programs, bounded, end, wait_for

try:
    from browser import CHROMIUM, DRIVER, Browser, Keys
    MISSING = [path for path in (CHROMIUM, DRIVER) if not os.path.exists(path)]
except ImportError as error:
    MISSING = [str(error)]

BINARIES = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(os.path.dirname(__file__), "..", "target")), "release")
SKIP = "needs root: it makes a network namespace and captures" if os.geteuid() != 0 else f"a browser is missing ({', '.join(MISSING)}): packaging/setup-debian test" if MISSING else None
HOSTILE = ["<img src=x onerror=alert(1)>", "\"><script>alert(2)</script>", "javascript:alert(3)", "‮gpj.exe", "\x1b[31mred"]


def dns_query(number, labels, query_type=1):
    """A question (RFC 1035) whose labels may hold anything."""
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + name + struct.pack(">HH", query_type, 1)


@unittest.skipIf(SKIP, SKIP)
class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        cls.addClassCleanup(folder.cleanup)
        os.chmod(folder.name, 0o755)
        cls.folder = folder.name
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.down)
        cls.lab.up()
        cls.programs = Programs(os.path.abspath(BINARIES), cls.folder)
        cls.addClassCleanup(cls.programs.kill)
        cls.programs.start_up("-i", cls.lab.link, "--console", "127.0.0.1:0")
        cls.url = cls.programs.page().rstrip("/")
        cls.browser = Browser(1280, 800)
        cls.addClassCleanup(cls.browser.__exit__)
        for number in range(3):
            bounded(["curl", "-s", "-o", "/dev/null", f"http://{cls.lab.peer}:8080/{'missing' if number == 2 else ''}?n={number}"], check=True)
            bounded(["dig", "+tries=1", f"@{cls.lab.peer}", "A", f"host{number}.demo.test"], check=True)
        bounded(["dig", "+tries=1", f"@{cls.lab.peer}", "A", "missing.demo.test"], check=True)
        cls.hostile_traffic()
        time.sleep(2.0)

    @classmethod
    def hostile_traffic(cls):
        """What somebody sends who wants the page to do something else than show it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dns:
            for number, text in enumerate(HOSTILE):
                dns.sendto(dns_query(number, [text.encode()[:60], b"demo", b"test"]), (cls.lab.peer, 53))
        for text in HOSTILE[:3]:
            with socket.create_connection((cls.lab.peer, 8080), timeout=5) as http:
                http.sendall(f"GET /{text.replace(' ', '%20')} HTTP/1.0\r\nHost: {text.replace(' ', '')}\r\nUser-Agent: {text}\r\n\r\n".encode())
                while http.recv(4096):
                    pass
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sip:
            text = HOSTILE[0]
            sip.sendto((f"OPTIONS sip:bob@{cls.lab.peer} SIP/2.0\r\nVia: SIP/2.0/UDP {cls.lab.address};branch=z9hG4bK1\r\nFrom: \"{text}\" <sip:ada@example.test>;tag=1\r\n"
                        f"To: <sip:bob@example.test>\r\nCall-ID: <script>alert(9)</script>\r\nCSeq: 1 OPTIONS\r\nUser-Agent: {text}\r\nContent-Length: 0\r\n\r\n").encode(), (cls.lab.peer, 5060))

    def open(self, view, **said):
        from urllib.parse import urlencode
        self.browser.open(f"{self.url}/#/{view}" + (f"?{urlencode(said)}" if said else ""))

    def rows(self):
        return self.browser.all(".seen .row")

    def texts(self):
        return self.browser.texts(".seen .row")

    def tearDown(self):
        self.assertEqual(self.browser.complaints(), [])
        host = self.url.split("/")[2]
        foreign = [url for url in self.browser.requested() if not url.startswith(("data:", "about:", "blob:", "chrome")) and url.split("/")[2] != host]
        self.assertEqual(foreign, [], "the page asks other hosts")

    def test_traffic_appears_within_two_seconds(self):
        self.open("events", q="type:dns")
        self.browser.until(self.rows, 5, "no row")
        asked = time.monotonic()
        bounded(["dig", "+tries=1", f"@{self.lab.peer}", "A", "just-now.demo.test"], check=True)
        self.browser.until(lambda: any("just-now" in text for text in self.texts()), 4, "the lookup")
        self.assertLess(time.monotonic() - asked, 2.0)

    def test_the_live_view_shows_sources_rates_and_that_the_account_closes(self):
        self.open("live")
        text = lambda: self.browser.one("main, .view").text
        self.browser.until(lambda: "The account closes" in text(), 8, "the account")
        bounded(["ping", "-q", "-c", "30", "-i", "0.02", self.lab.peer], check=True)
        self.browser.until(lambda: float(re.search(r"([\d.]+) packets/s", text())[1]) >= 5, 6, "a rate")
        self.assertIn("tapline", text())
        for name in ("Probe", "Collector", "Archive", "Analyzer", "Outputs"):
            self.assertIn(name, text())

    def test_words_narrow_complete_and_stay_in_the_address(self):
        self.open("events")
        self.browser.until(self.rows, 5, "no row")
        self.browser.keys("/")
        field = self.browser.one("input[aria-label=Filter]")
        field.send_keys("type:ht")
        self.browser.until(lambda: any("type:http" in text for text in self.browser.texts("#filter-suggestions li")), 3, "no completion")
        field.send_keys("tp status:Error" + Keys.ENTER)
        self.browser.until(lambda: self.texts() and all("http" in text and re.search(r"\b40[04]\b", text) for text in self.texts()), 3, "not only errors of HTTP")
        address = self.browser.driver.current_url
        self.assertIn("type%3Ahttp", address.replace(":", "%3A"))
        shown = sorted(self.texts())
        with Browser() as other:
            other.open(address)
            other.until(lambda: other.all(".seen .row"), 5, "no row")
            self.assertEqual(sorted(other.texts(".seen .row")), shown, "a link shows a colleague the same")
        field.clear()
        field.send_keys("ip:nonsense" + Keys.ENTER)
        self.browser.until(lambda: "ip:10.0.0.7" in self.browser.driver.find_element("css selector", "body").text, 3, "no word on how to write it")
        self.assertTrue(any("400" in complaint for complaint in self.browser.complaints()))

    def test_a_value_can_be_filtered_for_and_out_and_a_time_be_dragged(self):
        self.open("events", q="type:dns")
        self.browser.until(self.rows, 5, "no row")
        self.rows()[0].click()
        value = self.browser.until(lambda: next((button for button in self.browser.all("button.value") if button.text == "NOERROR" or button.text == "NXDOMAIN"), None), 3, "no value")
        said = value.text
        value.click()
        next(item for item in self.browser.all("[role=menuitem]") if item.text.startswith("Filter out")).click()
        self.browser.until(lambda: self.texts() and not any(said in text for text in self.texts()), 3, f"{said} is still there")
        self.assertIn("-", self.browser.one("input[aria-label=Filter]").get_attribute("value"))
        self.open("events")
        self.browser.until(self.rows, 5, "no row")
        before = self.browser.driver.current_url
        self.browser.until(lambda: self.browser.all(".plot canvas"), 5, "no histogram")
        time.sleep(0.5)
        self.browser.drag(".plot .u-over", 0.5, 0.98)
        self.browser.until(lambda: "since=" in self.browser.driver.current_url and self.browser.driver.current_url != before, 3, "the drag selects no time")

    def test_the_packets_of_an_event_are_downloaded_and_are_its_own(self):
        self.open("events", q="type:http status:Error")
        self.browser.until(self.rows, 5, "no row")
        self.rows()[-1].click()
        button = self.browser.until(lambda: next((link for link in self.browser.all("a.button.main") if "packet" in link.text.lower() and "(" in link.text), None), 5, "no size")
        count = int(re.search(r"(\d+) packets?", button.text)[1])
        self.browser.keys("p")
        path = self.browser.downloaded()
        lines = bounded(["tshark", "-r", str(path), "-T", "fields", "-e", "tcp.port", "-e", "http.request.uri", "-e", "http.response.code"], check=True).splitlines()
        self.assertEqual(len(lines), count)
        self.assertEqual([line.split("\t")[2] for line in lines if line.split("\t")[2]], ["404"])
        self.assertEqual(len({line.split("\t")[0].replace("8080", "").strip(",") for line in lines}), 1, "packets of other connections")

    def test_keys(self):
        self.open("events", q="type:dns")
        self.browser.until(lambda: len(self.rows()) > 2, 5, "no rows")
        self.browser.keys("jj")
        cursor = self.browser.until(lambda: self.browser.all(".seen .row.cursor"), 2, "no cursor")[0].get_attribute("data-id")
        self.browser.keys(Keys.ENTER)
        self.browser.until(lambda: f"open={cursor}" in self.browser.driver.current_url, 2, "not open")
        self.browser.keys(Keys.ESCAPE)
        self.browser.until(lambda: "open=" not in self.browser.driver.current_url, 2, "not closed")
        live = lambda: self.browser.one("button.live").get_attribute("aria-pressed")
        was = live()
        self.browser.keys("l")
        self.browser.until(lambda: live() != was, 2, "live does not change")
        self.browser.keys("?")
        self.browser.until(lambda: self.browser.all("dialog[open], [role=dialog]"), 2, "no help")

    def test_hostile_text_stays_text(self):
        seen = ""
        for query in ("type:dns", "type:http", "type:sip"):
            self.open("events", q=query)
            self.browser.until(self.rows, 5, f"no row for {query}")
            for at in range(min(8, len(self.rows()))):
                self.rows()[at].click()
                self.browser.until(lambda: self.browser.all("button.value"), 3, "no detail")
                seen += self.browser.driver.find_element("css selector", "body").text
                for tab in self.browser.all("[role=tab]"):
                    tab.click()
                    time.sleep(0.05)
                self.assertEqual(self.browser.all("img, iframe, body script, a[href^=javascript]"), [], f"markup out of packets: {query}")
                self.browser.keys(Keys.ESCAPE)
        self.assertIn("<img src=x onerror=alert(1)>", seen)
        self.assertIn("<script>alert(9)</script>", seen)
        self.assertNotIn("‮", seen, "a direction mark is shown as what it is")
        self.assertNotIn("\x1b", seen)
        with self.assertRaises(Exception):
            self.browser.driver.switch_to.alert.text  # noqa: B018, there must be none

    def test_the_archive_shows_what_is_stored_and_grabs_it(self):
        self.open("archive")
        field = self.browser.one("input[placeholder='udp port 53']")
        field.send_keys("udp port 53")
        self.browser.until(lambda: "At most" in self.browser.one("form").text, 5, "no estimate")
        next(button for button in self.browser.all("form button.main")).click()
        path = self.browser.downloaded()
        lines = bounded(["tshark", "-r", str(path), "-T", "fields", "-e", "udp.port"], check=True).splitlines()
        self.assertGreater(len(lines), 5)
        self.assertTrue(all("53" in line.split(",") for line in lines))
        field.clear()
        field.send_keys("udp porrt 53")
        self.browser.until(lambda: "syntax error" in self.browser.one("form").text, 5, "no word on the wrong filter")
        self.assertTrue(any("400" in complaint for complaint in self.browser.complaints()))

    def test_it_works_on_a_phone(self):
        try:
            self.browser.size(360, 740)
            for view in ("live", "events", "voice", "archive"):
                self.open(view)
                time.sleep(0.7)
                wide = self.browser.driver.execute_script("return document.documentElement.scrollWidth")
                self.assertLessEqual(wide, 360, f"{view} is wider than the screen")
        finally:
            self.browser.size(1280, 800)


@unittest.skipIf(SKIP, SKIP)
class States(unittest.TestCase):
    """Nothing captured yet; the collector away; the console away and back."""

    def start(self):
        process = subprocess.Popen([os.path.join(os.path.abspath(BINARIES), "tapline"), "console", "--set", f"console.data={self.folder}", "--set", f'console.listen=["127.0.0.1:{self.port}"]'],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.addCleanup(end, process)
        wait_for("the console", lambda: bounded(["curl", "-s", f"http://127.0.0.1:{self.port}/healthz"]) == "ok\n")
        return process

    def test_what_to_do_is_said(self):
        folder = tempfile.TemporaryDirectory(prefix="tapline-e2e-")
        self.addCleanup(folder.cleanup)
        os.chmod(folder.name, 0o755)
        self.folder = folder.name
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        console = self.start()
        with Browser() as browser:
            text = lambda: browser.driver.find_element("css selector", "body").text
            browser.open(f"http://127.0.0.1:{self.port}/#/live")
            browser.until(lambda: "The collector cannot be asked" in text(), 8, "no word on the collector")
            browser.open(f"http://127.0.0.1:{self.port}/#/events")
            browser.until(lambda: "tapline-probe" in text() or "No event" in text(), 5, "no word on the empty store")
            end(console)
            browser.until(lambda: "No connection to the console" in text(), 15, "no word on the lost connection")
            self.start()
            browser.until(lambda: "No connection to the console" not in text(), 20, "it does not come back")


if __name__ == "__main__":
    unittest.main()
