"""Small archives of questions and pictures, in every form that the job reads."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.small_data import picture

QUESTIONS = ["Which side?", "病变在哪一侧？", "Is there a nodule?"]
PICTURES = [picture(n) for n in range(len(QUESTIONS))]
HASHES = [hashlib.sha256(encoded).hexdigest() for encoded in PICTURES]
SECRET = "Zhang Wei"


def write_lines(path: Path, records: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def write_pictures(folder: Path) -> list[str]:
    """The pictures as files of a folder; their paths beside it."""
    folder.mkdir()
    for number, encoded in enumerate(PICTURES):
        (folder / f"{number}.png").write_bytes(encoded)
    return [f"{folder.name}/{number}.png" for number in range(len(PICTURES))]


def tables_of(folder: Path) -> dict[str, Path]:
    """One and the same rows in every form that a table may have."""
    paths = write_pictures(folder / "scans")
    columns: dict[str, list[Any]] = {
        "bytes": PICTURES,
        "paths": paths,
        "both": [{"bytes": encoded, "path": "x.png"} for encoded in PICTURES],
        "path alone": [{"bytes": None, "path": path} for path in paths],
    }
    found = {}
    for name, held in columns.items():
        found[name] = folder / f"{name}.parquet"
        pq.write_table(pa.table({"question": QUESTIONS, "image": held}), found[name])
    found["list"] = folder / "list.parquet"
    lists = pa.table({"question": QUESTIONS, "images": [[encoded] for encoded in PICTURES]})
    pq.write_table(lists, found["list"])
    pairs = list(zip(QUESTIONS, paths, strict=True))
    lines = [{"question": question, "image": path} for question, path in pairs]
    found["lines"] = write_lines(folder / "rows.jsonl", lines)
    for suffix, mark, encoding in ((".csv", ",", "utf-8"), (".tsv", "\t", "gb18030")):
        table = [("question", "image"), *pairs]
        found[suffix] = folder / f"rows{suffix}"
        text = "".join(mark.join(cells) + "\r\n" for cells in table)
        found[suffix].write_bytes(text.encode(encoding))
    return found
