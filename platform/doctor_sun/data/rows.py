"""The rows that curation steps work on: thin (no image bytes), one block a part, by Ray Data."""

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import ray
import ray.data

from doctor_sun.data.ledger import LINES, Decision, Ledger, Part, StepResult
from doctor_sun.records import SCHEMA

Row = Mapping[str, Any]
FINGERPRINTS = pa.list_(
    pa.struct(
        [("file", pa.string()), ("perceptual", pa.uint64()), ("mirrored", pa.uint64())],
    )
)
TABLE_COLUMNS = (
    *("id", "source", "domain", "language", "task", "split", "image_keys", "turns", "parents"),
)
THIN_SCHEMA = pa.schema(
    [
        *(SCHEMA.field(name) for name in TABLE_COLUMNS),
        ("fingerprints", FINGERPRINTS),
        ("part", pa.int32()),
        ("row", pa.int64()),
    ]
)


def rows_after(ledger: Ledger, without: Container[int] = ()) -> ray.data.Dataset:
    """The ingested rows with every decision of the ledger applied, one block a part.

    Args:
        ledger: decisions so far.
        without: parts that are left out.
    """
    parts = [asdict(part) for part in ledger.parts() if part.number not in without]
    if not parts:
        return ray.data.from_arrow(THIN_SCHEMA.empty_table())
    listed = ray.data.from_items(
        [{"part": json.dumps(part)} for part in parts], override_num_blocks=len(parts)
    )
    return listed.map_batches(_read_parts, batch_format="pyarrow", batch_size=None)


def _read_parts(listed: pa.Table) -> pa.Table:
    parts = [Part(**json.loads(part)) for part in listed["part"].to_pylist()]
    return pa.concat_tables([THIN_SCHEMA.empty_table(), *(part.read() for part in parts)])


def chunked(texts: Sequence[str], column: str, size: int) -> ray.data.Dataset:
    """A list of texts on the driver as a data set of one column, in blocks of `size` rows."""
    blocks = [
        pa.table({column: pa.array(texts[start : start + size], pa.string())})
        for start in range(0, max(len(texts), 1), size)
    ]
    return ray.data.from_arrow(blocks)


def decide_each(
    rows: ray.data.Dataset, judge: Callable[[Row], Decision | None], **options: Any
) -> StepResult:
    """A step that decides on each row alone: `judge` in Ray Data tasks."""

    def judge_all(table: pa.Table) -> pa.Table:
        return lines_of(table, map(judge, table.to_pylist()))

    lines = rows.map_batches(judge_all, batch_format="pyarrow", batch_size=None, **options)
    return StepResult(lines=lines, by_part=True, alone=True)


def lines_of(table: pa.Table, decisions: Iterable[Decision | None]) -> pa.Table:
    """The lines of rows: a row's decision, or an empty verdict where it simply goes on.

    A row for review goes on, so it has both lines.

    Args:
        table: rows with at least the columns part, id and source.
        decisions: one a row, in order.
    """
    owners: list[int] = []
    columns: dict[str, list[Any]] = {"verdict": [], "reason": [], "evidence": [], "turns": []}
    for row, decision in enumerate(decisions):
        review = decision is not None and decision.verdict == "review"
        for said in (None, decision) if review else (decision,):
            owners.append(row)
            columns["verdict"].append(said.verdict if said else "")
            columns["reason"].append(said.reason if said else "")
            columns["evidence"].append(evidence_text(said.evidence) if said else "")
            columns["turns"].append(said.turns if said else None)
    given = table.select(["part", "id", "source"]).take(pa.array(owners, pa.int64()))
    return pa.table({name: given[name] for name in given.column_names} | columns, schema=LINES)


def evidence_text(evidence: Mapping[str, Any]) -> str:
    """Evidence as the ledger keeps it: a JSON object, keys sorted."""
    return json.dumps(evidence, ensure_ascii=False, sort_keys=True)


def tables(dataset: ray.data.Dataset) -> Iterator[pa.Table]:
    """A data set's blocks as Arrow tables, streamed to the driver."""
    yield from dataset.iter_batches(batch_format="pyarrow", batch_size=None)


def collect(dataset: ray.data.Dataset, schema: pa.Schema) -> pa.Table:
    """A small data set as one table on the driver."""
    parts = [part.select(schema.names).cast(schema) for part in tables(dataset) if part.num_rows]
    return pa.concat_tables([schema.empty_table(), *parts]).combine_chunks()


def keeper_order(sources: Sequence[str]) -> Callable[[Row], tuple[int, int, str]]:
    """The rank of a row among its duplicates, smallest is kept: source, length, id.

    Args:
        sources: the sources by falling priority; one that is not named comes last.
    """
    position = {source: number for number, source in enumerate(sources)}
    return lambda row: (position.get(row["source"], len(position)), -row["length"], row["id"])
