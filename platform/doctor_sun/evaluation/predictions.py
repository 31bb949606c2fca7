"""Files of answered questions: JSON Lines, a line a question."""

import json
from collections.abc import Sequence
from typing import Any

from upath import UPath

from doctor_sun.errors import InputError
from doctor_sun.evaluation.tasks import Item

REQUIRED_KEYS = ("id", "answer", "prediction")


def read_predictions(location: str | UPath) -> list[dict[str, Any]]:
    """The lines of a predictions file.

    Raises:
        InputError: no such file, no lines, a line that is no JSON object or lacks a key, an id
            that stands twice.
    """
    path = UPath(location)
    if not path.is_file():
        raise InputError(f"predictions file {location} does not exist")
    records: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            raise InputError(f"{location}, line {number}: not valid JSON") from None
        if not isinstance(record, dict):
            raise InputError(f"{location}, line {number}: not a JSON object")
        for key in REQUIRED_KEYS:
            if key not in record:
                raise InputError(f"{location}, line {number}: key '{key}' is missing")
            if not isinstance(record[key], str | int | float):
                raise InputError(f"{location}, line {number}: key '{key}' must be a text")
        if str(record["id"]) in seen:
            raise InputError(f"{location}, line {number}: its id stands in an earlier line")
        seen.add(str(record["id"]))
        records.append(record)
    if not records:
        raise InputError(f"predictions file {location} holds no lines")
    return records


def write_predictions(
    path: UPath, items: Sequence[Item], said: Sequence[str], control: Sequence[str | None]
) -> None:
    """One line a question, in the form that `--score-only` reads."""
    lines = [
        {
            "id": item.id,
            "question": item.question,
            "answer": item.answer,
            "prediction": text,
            "shuffled_image_prediction": other,
            "options": dict(item.options),
            "image_key": item.image_key,
            **item.groups,
        }
        for item, text, other in zip(items, said, control, strict=True)
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")
