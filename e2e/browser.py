"""A real Chromium for looking at the page: Debian's chromium, chromium-driver and python3-selenium, so /usr/bin/python3.

As a program it takes pictures of views: browser.py URL DIRECTORY [VIEW ...]
"""

import contextlib
import json
import os
import pathlib
import sys
import tempfile
import time

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys  # noqa: F401, for tests

CHROMIUM = "/usr/bin/chromium"
DRIVER = "/usr/bin/chromedriver"


class Browser:
    """One window. Everything a page logs or is refused is kept and can be asserted on."""

    def __init__(self, width=1280, height=800, dark=False, downloads=None):
        self.own_downloads = None if downloads else tempfile.TemporaryDirectory(prefix="tapline-downloads-")
        self.downloads = pathlib.Path(downloads or self.own_downloads.name)
        self.seen = set()
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-device-scale-factor=1"):
            options.add_argument(argument)
        options.add_experimental_option(
            "prefs",
            {"download.default_directory": str(self.downloads), "download.prompt_for_download": False, "safebrowsing.enabled": False},
        )
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(service=Service(DRIVER), options=options)
        self.size(width, height)
        self.scheme(dark)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()
        if self.own_downloads:
            self.own_downloads.cleanup()

    def size(self, width, height):
        """The size of the page itself, also below the least width of a window."""
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})

    def scheme(self, dark):
        value = "dark" if dark else "light"
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": value}]})

    def open(self, url):
        # Another fragment alone would not load the page anew.
        self.driver.get("about:blank")
        self.driver.get(url)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector, seconds=5):
        """The first element that is there within some seconds."""
        return self.until(lambda: next(iter(self.all(selector)), None), seconds, f"nothing is {selector}")

    def texts(self, selector):
        for _ in range(5):
            with contextlib.suppress(StaleElementReferenceException):
                return [element.text for element in self.all(selector)]
        return []

    def until(self, holds, seconds=5, what="it did not come to be"):
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(StaleElementReferenceException):
                found = holds()
                if found:
                    return found
            if time.monotonic() > end:
                raise AssertionError(f"{what} within {seconds} s")
            time.sleep(0.05)

    def keys(self, text):
        """To whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(text)

    def drag(self, selector, start, end):
        """A drag within an element; places are shares of its width."""
        box = self.driver.execute_script("const b = document.querySelector(arguments[0]).getBoundingClientRect(); return [b.left, b.top, b.width, b.height]", selector)
        y = box[1] + box[3] / 2
        for kind, share, buttons in (("mousePressed", start, 1), ("mouseMoved", (start + end) / 2, 1), ("mouseMoved", end, 1), ("mouseReleased", end, 0)):
            self.driver.execute_cdp_cmd(
                "Input.dispatchMouseEvent",
                {"type": kind, "x": box[0] + box[2] * share, "y": y, "button": "left", "buttons": buttons, "clickCount": 1},
            )

    def downloaded(self, seconds=10):
        """The complete download that was not asked for before."""

        def ready():
            files = [file for file in self.downloads.iterdir() if file.suffix not in (".crdownload", ".tmp") and not file.name.startswith(".")]
            new = [file for file in files if file not in self.seen]
            return new and not list(self.downloads.glob("*.crdownload")) and new[0]

        found = self.until(ready, seconds, "no download")
        self.seen.add(found)
        return found

    def complaints(self):
        """Errors and warnings of the page since the last call, such as what the content security policy refused."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requested(self):
        """Addresses the page asked for since the last call."""
        messages = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"]

    def picture(self, path):
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(os.fspath(path))
        return path


def main(url, directory, views):
    for view in views or ["live", "events", "voice", "archive"]:
        for width, height in ((360, 740), (1280, 800), (2560, 1440)):
            for dark in (False, True):
                with Browser(width, height, dark) as browser:
                    browser.open(f"{url.rstrip('/')}/#/{view}")
                    time.sleep(2.5)
                    name = view.split("?")[0]
                    browser.picture(f"{directory}/{name}-{width}-{'dark' if dark else 'light'}.png")
                    for complaint in browser.complaints():
                        print(f"{view} {width}: {complaint}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
