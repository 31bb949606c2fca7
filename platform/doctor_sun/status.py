"""What is in a folder of runs: each step, whether it is finished, how old it is, its figures.

    doctor-sun status runs/tiny              # the steps of a run, or of all runs below a folder
    doctor-sun status runs/tiny/align        # one step: all that its manifest says, its last lines

Reads manifests and logs only, so that it works beside a running job, without a cluster, and on an
object store.
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tabulate import tabulate
from upath import UPath

from doctor_sun.errors import InputError, one_line_errors
from doctor_sun.runs import STATE, read_manifest
from doctor_sun.step_log import read_log

SHOWN = 4  # numbers of a step in a list of steps
LAST = 10  # lines of its log, when one step is asked for


@dataclass(frozen=True, kw_only=True)
class StepStatus:
    """What one step's folder says."""

    name: str
    folder: str
    """Relative to the folder that was asked for."""
    finished: bool
    seconds: float | None
    """How long it took; None of one that is not finished."""
    age: float | None
    """Seconds since it finished, or since it last said something; None when it never did."""
    said: str
    """The last line of its log."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """The manifest's figures and counts, those that stand alone before those of parts."""


def step_folders(root: UPath) -> list[UPath]:
    """Folders of steps at or below a folder, those of a search's trials as well."""
    return sorted({path.parent for path in root.rglob(STATE)}, key=str)


def numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number in nested mappings, by its dotted name."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{name}", value


def status_of(folder: UPath, root: UPath, now: float) -> StepStatus:
    """Read one step's folder."""
    manifest = read_manifest(folder) or {}
    lines = list(read_log(folder))
    last = datetime.fromisoformat(lines[-1]["time"]).timestamp() if lines else None
    if manifest:
        last = manifest["started"] + manifest["wall_seconds"]
    found = [pair for part in ("figures", "counts") for pair in numbers(manifest.get(part, {}))]
    name = json.loads((folder / STATE).read_text(encoding="utf-8"))["step"]
    return StepStatus(
        name=name,
        folder=str(folder.relative_to(root)) if folder != root else folder.name,
        finished=bool(manifest),
        seconds=manifest.get("wall_seconds"),
        age=None if last is None else max(0.0, now - last),
        said=lines[-1]["message"] if lines else "",
        numbers=dict(sorted(found, key=lambda one: "." in one[0])),
    )


def read_status(location: str, now: float | None = None) -> list[StepStatus]:
    """The steps at or below a location.

    Raises:
        InputError: there is no such folder, or no step in it.
    """
    root = UPath(location)
    if not root.is_dir():
        raise InputError(f"there is no folder {location}")
    moment = time.time() if now is None else now
    found = [status_of(path, root, moment) for path in step_folders(root)]
    if not found:
        raise InputError(f"no step has begun in {location}")
    return sorted(found, key=lambda step: -(step.age or 0))


def _time(seconds: float | None) -> str:
    return "" if seconds is None else str(timedelta(seconds=round(seconds)))


def _shown(values: Mapping[str, float]) -> str:
    first = list(values.items())[:SHOWN]
    return ", ".join(f"{name} {_number(value)}" for name, value in first)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def table(steps: list[StepStatus]) -> str:
    """A line a step; what is not finished shows what it said last."""
    rows = [
        (
            step.folder,
            step.name,
            "finished" if step.finished else "unfinished",
            _time(step.seconds),
            _time(step.age),
            _shown(step.numbers) if step.finished else step.said,
        )
        for step in steps
    ]
    headers = ["folder", "step", "state", "took", "age", "figures, or what it said last"]
    return tabulate(rows, headers, maxcolwidths=[None] * 5 + [72])


def details(step: StepStatus, folder: str) -> str:
    """All that is known of one step."""
    rows = [(name, _number(value)) for name, value in step.numbers.items()]
    said = [f"{line['time']}  {line['message']}" for line in read_log(folder)][-LAST:]
    parts = [
        table([step]),
        tabulate(rows, tablefmt="plain", colalign=("left", "right")) if rows else "",
        "\n".join(said),
    ]
    return "\n\n".join(part for part in parts if part)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="doctor-sun", description="Look at runs.")
    commands = parser.add_subparsers(dest="command", required=True)
    status = commands.add_parser(
        "status",
        help="steps, their ages and figures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    status.add_argument("folder", nargs="?", default="runs", help="path or URI (default: runs)")
    arguments = parser.parse_args()
    with one_line_errors():
        steps = read_status(arguments.folder)
        one = len(steps) == 1 and steps[0].folder == UPath(arguments.folder).name
        print(details(steps[0], arguments.folder) if one else table(steps))


if __name__ == "__main__":
    main()
