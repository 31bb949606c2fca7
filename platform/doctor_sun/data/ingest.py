"""Raw data sets to the thin rows that the steps work on: read, checked, numbered.

Every source is cut into shards; a shard becomes a part. Every row is checked here, once: malformed
records, missing columns, unreadable pictures, repeated ids. A bad row stops the job with one line
that names file and row, or goes to the ledger.
"""

import hashlib
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import ray.data
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.data.image_fingerprint import fingerprint
from doctor_sun.data.ledger import Decision, StepResult, thin_file
from doctor_sun.data.rows import TABLE_COLUMNS, THIN_SCHEMA, lines_of, tables
from doctor_sun.data.sources import Fault, OpenSource
from doctor_sun.errors import InputError
from doctor_sun.files import write_parquet
from doctor_sun.records import CHOICES, check_sample

MOST_BLOCKS = 10_000


@dataclass(kw_only=True)
class IngestConfig:
    """How raw rows are taken in."""

    on_bad_row: Literal["stop", "ledger"] = "stop"
    """What a malformed row does: `stop` ends the job naming file and row, `ledger` drops the row
    with the reason recorded."""


@dataclass(frozen=True)
class Shard:
    """One piece of a source, and the number of the part it becomes."""

    part: int
    source: OpenSource
    name: str

    def place(self, row: int) -> str:
        """Where a row stands, for messages."""
        return f"{self.source.path}/{self.name}, row {row}"


def shards_of(sources: Sequence[OpenSource]) -> list[Shard]:
    """All shards of all sources, numbered."""
    named = [(source, name) for source in sources for name in source.shards()]
    return [Shard(part, source, name) for part, (source, name) in enumerate(named)]


def row_fault(row: dict[str, Any]) -> str:
    """Why a row cannot be used, "" when it can; fills in its image keys and fingerprints."""
    if not row["id"] or not isinstance(row["id"], str):
        return "column 'id' is empty"
    for column in CHOICES:
        if not isinstance(row[column], str):
            return f"column '{column}' is not a text"
    try:
        check_sample(row)
        prints = [fingerprint(encoded) for encoded in row["images"]]
    except OSError:
        return "unreadable image"
    except ValueError as error:
        return str(error)
    except (TypeError, KeyError, AttributeError):
        return "column 'turns' or 'images' is malformed"
    row["image_keys"] = [found.pixels for found in prints]
    row["fingerprints"] = [
        {"file": found.file, "perceptual": found.perceptual, "mirrored": found.mirrored}
        for found in prints
    ]
    return ""


def ingest(
    shards: Sequence[Shard], thin: UPath, config: IngestConfig, without: Container[int] = ()
) -> StepResult:
    """Check all raw rows and write the thin parts; the decisions are the bad rows.

    Args:
        shards: what is read.
        thin: folder of the thin parts.
        config: what a bad row does.
        without: parts that an interrupted run has finished.

    Raises:
        InputError: a bad row, with `on_bad_row: stop`.
    """
    thin.mkdir(parents=True, exist_ok=True)
    stop, folder = config.on_bad_row == "stop", str(thin)
    by_part = {shard.part: shard for shard in shards}

    def read(listed: pa.Table) -> pa.Table:
        return pa.concat_tables(
            [
                _ingest_shard(by_part[part], UPath(folder), stop)
                for part in listed["part"].to_pylist()
            ]
        )

    parts = [{"part": part} for part in by_part if part not in without]
    listed = ray.data.from_items(parts, override_num_blocks=max(1, min(len(parts), MOST_BLOCKS)))
    if not parts:
        listed = ray.data.from_arrow(pa.table({"part": pa.array([], pa.int64())}))
    lines = listed.map_batches(read, batch_format="pyarrow", batch_size=None)
    return StepResult(lines=lines, figures={"shards": len(shards)}, by_part=True, alone=True)


def _ingest_shard(shard: Shard, thin: UPath, stop: bool) -> pa.Table:
    """Write the thin part of a shard; the lines of its raw rows."""
    good: list[dict[str, Any]] = []
    marked: list[Decision | None] = []
    bad: list[Decision] = []
    for number, reason, row in checked_rows(shard):
        if reason and stop:
            advice = "ingest.on_bad_row: ledger goes on"
            raise InputError(f"{shard.place(number)}: {reason} ({advice})")
        if reason:
            bad.append(_refused(shard, number, reason, row))
            continue
        marked.append(_for_review(row) if row.get("review") else None)
        thin_row = {name: row[name] for name in (*TABLE_COLUMNS, "fingerprints")}
        good.append(thin_row | {"part": shard.part, "row": number})
    rows = pa.Table.from_pylist(good, schema=THIN_SCHEMA)
    write_parquet(thin_file(thin, shard.part), rows)
    named = pa.table(
        {
            "part": pa.array([shard.part] * len(bad), pa.int32()),
            "id": pa.array([decision.id for decision in bad], pa.string()),
            "source": pa.array([decision.source for decision in bad], pa.string()),
        }
    )
    return pa.concat_tables([lines_of(rows, marked), lines_of(named, bad)])


def _refused(shard: Shard, number: int, reason: str, row: dict[str, Any]) -> Decision:
    """A row that cannot be used has no id: it is named after its place."""
    source = row.get("source")
    return Decision(
        id=f"{shard.source.name}/{shard.name}#{number}",
        source=source if isinstance(source, str) and source else shard.source.name,
        verdict="dropped",
        reason=reason,
        evidence={"path": f"{shard.source.path}/{shard.name}", "row": number},
    )


def _for_review(row: dict[str, Any]) -> Decision:
    return Decision(id=row["id"], source=row["source"], verdict="review", reason=str(row["review"]))


def checked_rows(shard: Shard) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """A shard's rows: number, why it cannot be used ("" when it can), the sample."""
    seen: set[str] = set()
    for number, row in shard.source.read(shard.name):
        if isinstance(row, Fault):
            yield number, row.reason, {}
            continue
        reason = row_fault(row)
        if not reason and row["id"] in seen:
            reason = "repeated id"
        seen.add(str(row["id"]))
        yield number, reason, row


def drop_repeated_ids(rows: ray.data.Dataset) -> StepResult:
    """Drop rows whose id stands in an earlier part too.

    The driver holds 20 bytes a row: 128 bits of the id's hash, and the part.
    """

    def hashed(table: pa.Table) -> pa.Table:
        return pa.table({"hash": _id_hashes(table), "part": table["part"]})

    hashes, parts = [b""], [np.zeros(0, np.int32)]
    for table in tables(rows.map_batches(hashed, batch_format="pyarrow", batch_size=None)):
        hashes.append(b"".join(table["hash"].to_pylist()))
        parts.append(table["part"].to_numpy())
    first_part = _repeated(b"".join(hashes), np.concatenate(parts))

    def judge(table: pa.Table) -> pa.Table:
        first = [first_part.get(value) for value in _id_hashes(table).to_pylist()]
        own = table.select(["id", "source", "part"]).to_pylist()
        return lines_of(table, map(_repeated_id, own, first))

    lines = rows.map_batches(judge, batch_format="pyarrow", batch_size=None)
    return StepResult(lines=lines, figures={"repeated_ids": len(first_part)}, by_part=True)


def _repeated_id(row: dict[str, Any], first: int | None) -> Decision | None:
    if first is None or row["part"] == first:
        return None
    return Decision(
        id=row["id"],
        source=row["source"],
        verdict="dropped",
        reason="repeated id",
        evidence={"part": row["part"], "first_part": first},
    )


def _id_hashes(table: pa.Table) -> pa.Array:
    """[rows] 128 bits of each id."""
    hashes = [hashlib.md5(id.encode()).digest() for id in table["id"].to_pylist()]
    return pa.array(hashes, pa.binary(16))


def _repeated(hashes: bytes, parts: NDArray[np.int32]) -> dict[bytes, int]:
    """The first part of each id hash (16 bytes each) that stands in several."""
    halves = np.frombuffer(hashes, np.uint64).reshape(-1, 2)
    order = np.lexsort((parts, halves[:, 1], halves[:, 0]))
    halves, parts = halves[order], parts[order]
    same = np.concatenate([[False], (halves[1:] == halves[:-1]).all(axis=1)])
    begins = np.flatnonzero(~same & np.append(same[1:], False))
    return {halves[at].tobytes(): int(parts[at]) for at in begins}
