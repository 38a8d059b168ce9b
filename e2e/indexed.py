"""What the demo's events look like in an Elasticsearch or OpenSearch that somebody has."""
import json
import time
import urllib.error
import urllib.parse
import urllib.request


class Indexed:
    """The server; nothing where there is none."""

    def __init__(self, url):
        self.url = url and url.rstrip("/")

    def settings(self):
        """How `tapline up` is told of it."""
        if not self.url:
            return []
        values = {"enabled": "true", "hosts": json.dumps([self.url])}
        return [word for key, value in values.items() for word in ("--set", f"analyzer.output.elasticsearch.{key}={value}")]

    def ask(self, path, body=None):
        request = urllib.request.Request(self.url + path, body and json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.load(answer)

    def check(self, events):
        """Gives what is wrong: every event must be there once."""
        if not self.url:
            return []
        ids = [event["_id"] for event in events]
        missing = twice = 0
        try:
            for attempt in range(20):
                self.ask("/tapline-*/_refresh", {})
                found = []
                for first in range(0, len(ids), 1000):
                    body = {"query": {"ids": {"values": ids[first:first + 1000]}}, "size": 2000, "_source": False}
                    found += [hit["_id"] for hit in self.ask("/tapline-*/_search", body)["hits"]["hits"]]
                missing, twice = len(set(ids) - set(found)), len(found) - len(set(found))
                if not missing:
                    break
                time.sleep(0.5)
        except (OSError, ValueError, KeyError) as error:
            return [f"{self.url}: {error}"]
        return [f"{self.url}: {missing} of {len(ids)} events are missing, {twice} are there twice"] if missing or twice else []

    def show(self, events):
        """The command that finds one of the calls there, and what it gives."""
        call = next((event for event in events if event["type"] == "call"), None)
        if not self.url or not call:
            return None
        words = f'type:call AND call.id:"{call["call"]["id"]}"'
        path = f"/tapline-*/_search?q={urllib.parse.quote(words)}&filter_path=hits.hits._index,hits.hits._source.call"
        hits = self.ask(path).get("hits", {}).get("hits", [])
        return f"curl '{self.url}{path}'\n" + "\n".join(json.dumps(hit)[:300] for hit in hits)
