"""Whether text is what Prometheus takes: promtool's verdict where it is installed, and the rules of the exposition format in any case."""
import re
import shutil
import subprocess

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*")*\})? (\S+)$')
PARTS = {"summary": ("_sum", "_count"), "histogram": ("_sum", "_count", "_bucket")}


def problems(text):
    """What is wrong with it; an empty list if nothing."""
    found = []
    if shutil.which("promtool"):
        done = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20)
        found += [f"promtool: {line}" for line in done.stdout.decode().splitlines() if done.returncode or line]
    kinds, helped, seen, family = {}, set(), set(), None
    if not text.endswith("\n"):
        found.append("the last line does not end")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, words = line[7:].partition(" ")
            found += [f"{name}: HELP twice"] * (name in helped) + [f"{name}: HELP without words"] * (not words)
            helped.add(name)
        elif line.startswith("# TYPE "):
            family, kind = line[7:].split(" ")
            found += [f"{family}: TYPE twice"] * (family in kinds) + [f"{family}: no HELP"] * (family not in helped)
            kinds[family] = kind
            found += [f"{family}: a counter without _total"] * (kind == "counter" and not family.endswith("_total"))
        else:
            sample = SAMPLE.match(line)
            if not sample:
                found.append(f"no sample: {line}")
                continue
            name = sample[1]
            parts = [family + part for part in PARTS.get(kinds.get(family), ("",))] if family else []
            found += [f"{name}: outside of its family"] * (name not in parts)
            found += [f"twice: {sample[1]}{sample[2] or ''}"] * ((sample[1], sample[2]) in seen)
            seen.add((sample[1], sample[2]))
            try:
                float(sample[3])
            except ValueError:
                found.append(f"no number: {line}")
    return found
