"""What the benchmark's rows share: running a process and reading what it cost, figures and how they are printed."""
import os
import resource
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import Callable, List


class Peerless(Exception):
    """A row cannot be measured here, because what it needs is not installed."""


@dataclass
class Row:
    """One thing to measure."""

    name: str
    measure: Callable


@dataclass
class Figure:
    """A measured figure: all its runs, their unit and the goal, if there is one."""

    name: str
    values: List[float]
    unit: str
    goal: str = ""

    def line(self):
        number = lambda v: f"{v:9.3f}" if v < 1000 else f"{v:9.0f}"
        middle, low, high = statistics.median(self.values), min(self.values), max(self.values)
        return f"{self.name:66} {number(middle)} {number(low)} {number(high)}  {self.unit:15} {self.goal}"

    def record(self):
        return {"name": self.name, "median": statistics.median(self.values), "min": min(self.values), "max": max(self.values),
                "runs": len(self.values), "unit": self.unit, "goal": self.goal}


def need(program):
    """The path of a peer program."""
    path = shutil.which(program)
    if not path:
        raise Peerless(f"{program} is not installed")
    return path


def cost(command, seconds=300, stdout=subprocess.DEVNULL):
    """Runs a command to its end; gives CPU seconds, peak memory in MiB and wall seconds of that process."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE)
    watchdog = begin + seconds
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {process.returncode}: {errors.decode(errors='replace')[-400:]}")
    if time.monotonic() > watchdog:
        raise RuntimeError(f"{' '.join(command)}: longer than {seconds} s")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, time.monotonic() - begin


def cpu_of(pid):
    """CPU seconds that a running process has used so far."""
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory_of(pid):
    """Peak resident memory of a running process in MiB."""
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def generated(options, script, name, *words):
    """A capture made by one of the generators here, once per benchmark."""
    path = os.path.join(options.work, name)
    if not os.path.exists(path):
        subprocess.run(["python3", os.path.join(os.path.dirname(__file__), "workload", script), path, *map(str, words)], check=True,
                       stderr=subprocess.DEVNULL)
    return path
