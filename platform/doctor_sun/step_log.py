"""What a step says, kept beside its result as lines of JSON: when, which run, step and job.

No content of samples is ever in it: a step says counts, figures, paths and ids.
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from upath import UPath

from doctor_sun.files import read_text

FOLDER = "log"
SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it for the entry point of a submitted job


def submission_id() -> str | None:
    """The id under which `ray job submit` started this process; None where it did not."""
    config: dict[str, Any] = json.loads(os.environ.get(SUBMITTED) or "{}")
    return (config.get("metadata") or {}).get("job_submission_id")


class StepLog:
    """The lines of one process; each has a file of its own, as object stores do not append."""

    def __init__(self, folder: str | UPath, step: str, key: str) -> None:
        """Name a step; the file is begun by the process that writes first.

        Args:
            folder: of the step; its parent's name is the run's.
            step: the step's name.
            key: hash of the step's inputs and configuration.
        """
        place = UPath(folder)
        self.names: dict[str, str | None] = {
            **{"run": place.absolute().parent.name, "step": step},
            **{"key": key[:12], "job": submission_id()},
        }
        self.folder = place / FOLDER
        self.file: UPath | None = None
        self.lines: list[str] = []

    def write(self, message: str) -> None:
        """Add a line."""
        now = datetime.now(UTC)
        if self.file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.file = self.folder / f"{now:%Y%m%dT%H%M%S.%f}-{os.getpid()}.jsonl"
        entry = {"time": now.isoformat(timespec="seconds"), **self.names}
        self.lines.append(json.dumps({**entry, "message": message}, ensure_ascii=False) + "\n")
        self.file.write_text("".join(self.lines), encoding="utf-8")


def read_log(folder: str | UPath) -> Iterator[dict[str, Any]]:
    """All lines of a step's processes, in the order in which they were said."""
    files = sorted((UPath(folder) / FOLDER).glob("*.jsonl"), key=str)
    lines = [json.loads(line) for file in files for line in read_text(file).splitlines()]
    yield from sorted(lines, key=lambda line: line["time"])
