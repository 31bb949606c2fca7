#!/usr/bin/env python
"""Run every benchmark, one after another, and print all their ratios in one table.

    python scripts/bench.py                     # small; minutes each
    python scripts/bench.py --full              # as docs/measured.md was made; hours
    python scripts/bench.py packing privacy     # these only

What each prints goes to benchmarks/results/NAME.log, its own figures to NAME.json, the table and
the machine's description to all.json, as each ends. Benchmarks run by name take their lines' place
in the table of this machine. A missed bar is said (bars are meant for the full size); exits with 1
when a benchmark could not measure.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from tabulate import tabulate
from tqdm import tqdm

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TABLE = RESULTS / "all.json"
RATIO = re.compile(r"^ratio: (-?[\d.]+) \((.+)\)$", re.MULTILINE)


def machine() -> dict[str, str]:
    """What the figures are of."""
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    packages = ("torch", "ray", "transformers", "deepspeed")
    return {
        "processor": f"{model[1] if model else platform.processor()}, {os.cpu_count()} threads",
        "memory": f"{psutil.virtual_memory().total / (1 << 30):.0f} GiB",
        "GPUs": ", ".join(gpus) or "none",
        "packages": ", ".join(f"{name} {version(name)}" for name in packages),
        "Python": platform.python_version(),
    }


def run(name: str, options: list[str]) -> dict[str, Any]:
    """Run one benchmark; its ratios, how long it took, how it ended."""
    log = RESULTS / f"{name}.log"
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *options]
    started = time.monotonic()
    with log.open("wb") as said:
        done = subprocess.run(command, cwd=ROOT, stdout=said, stderr=said, check=False)
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    ratios = [{"ratio": float(ratio), "of": what} for ratio, what in RATIO.findall(text)]
    if ratios:
        ended = "a bar is missed" if done.returncode else ""
    else:
        last = (text.splitlines() or ["it said nothing"])[-1]
        ended = ("FAILED: " if done.returncode else "") + last[:100]
    return {
        "ratios": ratios,
        "ended": ended,
        "failed": done.returncode != 0 and not ratios,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "options": options,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def lines(name: str, found: dict[str, Any]) -> list[list[object]]:
    """A benchmark's lines of the table, one a ratio."""
    ratios = [[one["ratio"], one["of"]] for one in found["ratios"]] or [[None, ""]]
    first, *rest = ratios
    return [[name, *first, found["minutes"], found["ended"]], *([None, *one] for one in rest)]


def main() -> None:
    """Run, write after each, print."""
    known = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--full", action="store_true", help="at full size")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(known)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    RESULTS.mkdir(exist_ok=True)
    described = machine()
    earlier = json.loads(TABLE.read_text()) if arguments.names and TABLE.is_file() else {}
    table = earlier.get("benchmarks", {}) if earlier.get("machine") == described else {}
    for name in tqdm(arguments.names or known, unit="benchmark"):
        tqdm.write(name)
        table[name] = run(name, [] if arguments.full else ["--quick"])
        table = dict(sorted(table.items()))
        TABLE.write_text(json.dumps({"machine": described, "benchmarks": table}, indent=2))
    print("\n".join(f"{name}: {value}" for name, value in described.items()), end="\n\n")
    shown = [line for name, found in table.items() for line in lines(name, found)]
    heads = ["benchmark", "ratio", "of", "minutes", "ended"]
    print(tabulate(shown, heads, disable_numparse=[1], maxcolwidths=[None, None, 60, None, 40]))
    sys.exit(any(found["failed"] for found in table.values()))


if __name__ == "__main__":
    main()
