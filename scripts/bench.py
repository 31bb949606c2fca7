#!/usr/bin/env python
"""Run every benchmark, one after another, and print all their ratios in one table.

    python scripts/bench.py                     # small; minutes each
    python scripts/bench.py --full              # as docs/measured.md was made; hours
    python scripts/bench.py packing privacy     # these only

What each prints goes to benchmarks/results/NAME.log, the table and the machine's description to
benchmarks/results/all.json. Fails when a benchmark does.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import psutil
import torch
from tabulate import tabulate

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
RATIO = re.compile(r"^ratio:? ([\d.]+)(?: \((.*)\))?$", re.MULTILINE)


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


def run(name: str, options: list[str]) -> dict[str, str | float | None]:
    """Run one benchmark; its ratio, how long it took, how it ended."""
    log = RESULTS / f"{name}.log"
    command = [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), *options]
    started = time.monotonic()
    with log.open("wb") as said:
        done = subprocess.run(command, cwd=ROOT, stdout=said, stderr=said, check=False)
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    found = RATIO.findall(text)
    ratio, what = found[-1] if found else (None, "")
    return {
        "benchmark": name,
        "ratio": float(ratio) if ratio else None,
        "of": what,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "ended": "" if done.returncode == 0 else text.splitlines()[-1][:100],
    }


def main() -> None:
    """Run, print, write."""
    known = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--full", action="store_true", help="at full size")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(known)
    if unknown:
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    RESULTS.mkdir(exist_ok=True)
    lines = []
    for name in arguments.names or known:
        print(f"{name} ...", flush=True)
        lines.append(run(name, [] if arguments.full else ["--quick"]))
    described = machine()
    print("\n".join(f"{name}: {value}" for name, value in described.items()), end="\n\n")
    print(tabulate(lines, headers="keys", maxcolwidths=[None, None, 40, None, 60]))
    found = {"machine": described, "full": arguments.full, "benchmarks": lines}
    (RESULTS / "all.json").write_text(json.dumps(found, indent=2))
    sys.exit(any(line["ended"] for line in lines))


if __name__ == "__main__":
    main()
