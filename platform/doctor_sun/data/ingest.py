"""Raw files (Parquet and JSON lines, by `records.SCHEMA`) to the thin table the steps work on.

Every row is checked here, once: malformed JSON, missing columns, an unreadable picture, a repeated
id. A bad row stops the job with one line that names file and row, or goes to the ledger.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from upath import UPath

from doctor_sun.data.ledger import Decision, StepResult
from doctor_sun.data.rows import TABLE_COLUMNS, THIN_SCHEMA, tables
from doctor_sun.errors import InputError
from doctor_sun.records import CHOICES, SCHEMA, check_sample, image_key

BATCH_ROWS = 512
SUFFIXES = (".parquet", ".jsonl")
UNKNOWN_SOURCE = "(unreadable)"


@dataclass(kw_only=True)
class IngestConfig:
    """How raw files are read."""

    on_bad_row: Literal["stop", "ledger"] = "stop"
    """What a malformed row does: `stop` ends the job naming file and row, `ledger` drops the row
    with the reason recorded."""


def raw_files(raw: str) -> list[str]:
    """All raw files below a folder, relative to it.

    Raises:
        InputError: there are none.
    """
    root = UPath(raw)
    found = sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.suffix in SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        raise InputError(f"{raw} holds no {' or '.join(SUFFIXES)} files")
    return found


def read_rows(raw: str, file: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The rows of one raw file, numbered from 1; for one that cannot be read, why.

    A file that cannot be read as a whole gives one row, numbered 0.
    """
    path = UPath(raw) / file
    with path.open("rb") as stream:
        if path.suffix == ".jsonl":
            for number, line in enumerate(stream, start=1):
                yield number, _parse_line(line)
            return
        try:
            parquet = pq.ParquetFile(stream)
        except pa.ArrowInvalid:
            yield 0, "not a Parquet file"
            return
        missing = [name for name in SCHEMA.names if name not in parquet.schema_arrow.names]
        if missing:
            yield 0, f"no column '{missing[0]}'"
            return
        number = 0
        for batch in parquet.iter_batches(BATCH_ROWS, columns=SCHEMA.names):
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _parse_line(line: bytes) -> dict[str, Any] | str:
    try:
        row = json.loads(line)
    except ValueError:
        return "malformed JSON"
    if not isinstance(row, dict):
        return "not a JSON object"
    missing = [name for name in SCHEMA.names if name not in row]
    return f"no column '{missing[0]}'" if missing else row


def row_fault(row: dict[str, Any]) -> str:
    """Why a row cannot be used, "" when it can; fills in its image keys."""
    if not row["id"] or not isinstance(row["id"], str):
        return "column 'id' is empty"
    for column in CHOICES:
        if not isinstance(row[column], str):
            return f"column '{column}' is not a text"
    try:
        check_sample(row)
        row["image_keys"] = [image_key(encoded) for encoded in row["images"]]
    except OSError:
        return "unreadable image"
    except ValueError as error:
        return str(error)
    except (TypeError, KeyError, AttributeError):
        return "column 'turns' or 'images' is malformed"
    return ""


def ingest(raw: str, thin: UPath, config: IngestConfig) -> StepResult:
    """Check all raw rows and write the thin table; the decisions are the bad rows.

    Raises:
        InputError: a bad row, with `on_bad_row: stop`; or no raw files.
    """
    files = raw_files(raw)
    thin.mkdir(parents=True, exist_ok=True)
    stop, thin_folder = config.on_bad_row == "stop", str(thin)

    def read(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
        rows, bad, seen = _read_file(raw, task["file"], stop)
        target = UPath(thin_folder) / f"{task['number']:06d}.parquet"
        with target.open("wb") as stream:
            pq.write_table(rows, stream, compression="zstd", row_group_size=2048)
        ids = rows["id"].to_pylist()
        yield {"file": task["file"], "seen": json.dumps(seen), "bad": json.dumps(bad), "ids": ids}

    tasks = [{"number": number, "file": file} for number, file in enumerate(files)]
    done = ray.data.from_items(tasks, override_num_blocks=min(len(tasks), 1000)).flat_map(read)
    decisions: list[Decision] = []
    total: Counter[str] = Counter()
    first: dict[str, str] = {}
    for table in tables(done):
        for line in table.to_pylist():
            total.update(json.loads(line["seen"]))
            found = [Decision(**bad, verdict="dropped") for bad in json.loads(line["bad"])]
            if stop and found:
                place = f"{UPath(raw) / line['file']}, row {found[0].evidence['row']}"
                raise InputError(f"{place}: {found[0].reason} (ingest.on_bad_row: ledger goes on)")
            decisions += found
            _check_ids(first, line["ids"], line["file"])
    return StepResult(decisions=decisions, seen=total, figures={"files": len(files)})


def _check_ids(first: dict[str, str], ids: list[str], file: str) -> None:
    """Raise InputError when an id was seen before."""
    for id in ids:
        if id in first:
            raise InputError(f"id {id[:16]}... stands in {first[id]} and again in {file}")
        first[id] = file


def _read_file(
    raw: str, file: str, stop: bool
) -> tuple[pa.Table, list[dict[str, Any]], Counter[str]]:
    """Thin rows, bad rows, and counts by source of one raw file."""
    rows: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    seen: Counter[str] = Counter()
    for number, row in read_rows(raw, file):
        reason = row if isinstance(row, str) else row_fault(row)
        source = UNKNOWN_SOURCE if isinstance(row, str) else str(row["source"])
        seen[source] += 1
        if not reason and isinstance(row, dict):
            thin = {name: row[name] for name in TABLE_COLUMNS}
            rows.append(thin | {"file": file, "row": number})
            continue
        bad.append(
            {
                "id": f"{file}#{number}",
                "source": source,
                "reason": str(reason),
                "evidence": {"file": file, "row": number},
            }
        )
        if stop:
            break
    return pa.Table.from_pylist(rows, schema=THIN_SCHEMA), bad, seen
