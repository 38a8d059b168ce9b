"""The event store: what an event costs on its way in, and how long every question of the console takes."""
import os
import re
import shutil
import subprocess

from measuring import Figure, Peerless, Row

EVENTS = 1_000_000


def example(options, name, package="tapline-store"):
    """Examples are built on demand: they are no part of the programs."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    built = subprocess.run(["cargo", "build", "-q", "--release", "--locked", "-p", package, "--example", name], cwd=root)
    path = os.path.join(options.bin, "examples", name)
    if built.returncode or not os.path.exists(path):
        raise Peerless(f"example {name} of {package} is not built")
    return path


def value(text, name):
    return float(re.search(rf"^{name}: ([0-9.]+)", text, re.M).group(1))


def run(*words):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def measure(options):
    events = int(os.environ.get("STORE_EVENTS", EVENTS))
    fill, ask = example(options, "fill"), example(options, "ask")
    directory = os.path.join(options.work, "store")
    writing, indexes, slowest = [], [], []
    for _ in range(options.runs):
        shutil.rmtree(directory, ignore_errors=True)
        text = run(fill, directory, str(events))
        writing.append(value(text, "cpu_us_per_event"))
        indexes.append(value(text, "cpu_us_per_event_indexes"))
    for _ in range(options.runs):
        slowest.append(value(run(ask, directory, "3"), "slowest_ms"))
    shutil.rmtree(directory)
    millions = f"{events / 1e6:g} million events"
    return [Figure("store: an event in, JSON of 1.1 KB", writing, "CPU us/event", "<= 10"),
            Figure("store: its indexes, made when a file is finished", indexes, "CPU us/event"),
            Figure(f"store: the slowest question, {millions}", slowest, "ms", "<= 300")]


ROWS = [Row("event store", measure)]
