"""Thin rows for the tests of the duplicate steps."""

from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import ray.data

from doctor_sun.data.image_fingerprint import fingerprint
from doctor_sun.data.ledger import StepResult
from doctor_sun.data.rows import THIN_SCHEMA


def row(id: str, *turns: str, images: Sequence[bytes] = (), **columns: Any) -> dict[str, Any]:
    """A thin row: turns of user and assistant alternately, the last one the assistant's."""
    roles = ["user", "assistant"] if len(turns) % 2 == 0 else ["assistant", "user"]
    prints = [fingerprint(encoded) for encoded in images]
    return {
        "id": id,
        "source": "s",
        "domain": "medical",
        "language": "en",
        "task": "instruction",
        "split": "train",
        "image_keys": [found.pixels for found in prints],
        "fingerprints": [
            {"file": found.file, "perceptual": found.perceptual, "mirrored": found.mirrored}
            for found in prints
        ],
        "turns": [{"role": roles[number % 2], "text": text} for number, text in enumerate(turns)],
        "parents": [],
        "part": 0,
        "row": 0,
        **columns,
    }


def dataset(rows: Iterable[dict[str, Any]], blocks: int = 3) -> ray.data.Dataset:
    """Rows in so many blocks."""
    listed = list(rows)
    size = -(-len(listed) // blocks)
    return ray.data.from_arrow(
        [
            pa.Table.from_pylist(listed[start : start + size], schema=THIN_SCHEMA)
            for start in range(0, len(listed), size)
        ]
    )


def lines(result: StepResult) -> list[dict[str, Any]]:
    """A step's lines, sorted."""
    return sorted(result.lines.take_all(), key=lambda line: (line["id"], line["verdict"]))


def verdicts(result: StepResult) -> dict[str, str]:
    """Verdict by id of the rows that do not simply go on."""
    return {line["id"]: line["verdict"] for line in lines(result) if line["verdict"]}
