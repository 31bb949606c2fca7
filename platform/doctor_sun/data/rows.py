"""The rows that curation steps work on: thin (no image bytes), read from Parquet by Ray Data."""

import json
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
from upath import UPath

from doctor_sun.data.ledger import Decision, Ledger, StepResult
from doctor_sun.records import SCHEMA

Row = Mapping[str, Any]
MOST_BLOCKS = 1000
TABLE_COLUMNS = ("id", "source", "domain", "language", "task", "image_keys", "turns")
THIN_SCHEMA = pa.schema(
    [*(SCHEMA.field(name) for name in TABLE_COLUMNS), ("file", pa.string()), ("row", pa.int64())]
)
VERDICTS = pa.schema(
    [(name, pa.string()) for name in ("id", "source", "verdict", "reason", "evidence", "turns")]
)


def rows_after(ledger: Ledger, thin: str, blocks: int | None = None) -> ray.data.Dataset:
    """The ingested rows with every decision of the ledger applied.

    Args:
        ledger: decisions so far.
        thin: folder of the thin table that ingestion wrote.
        blocks: blocks that the table's files are dealt to; none takes one a file.
    """
    decided = ray.put((ledger.dropped, ledger.edits))

    def read(files: pa.Table) -> pa.Table:
        dropped, edits = ray.get(decided)
        parts = [_apply(_read(file), dropped, edits) for file in files["file"].to_pylist()]
        return pa.concat_tables(parts)

    files = [{"file": str(file)} for file in sorted(UPath(thin).glob("*.parquet"), key=str)]
    count = min(blocks or len(files), len(files), MOST_BLOCKS)
    listed = ray.data.from_items(files, override_num_blocks=count)
    return listed.map_batches(read, batch_format="pyarrow", batch_size=None)


def _read(file: str) -> pa.Table:
    with UPath(file).open("rb") as stream:
        return pq.read_table(stream)


def _apply(table: pa.Table, dropped: Container[str], edits: Mapping[str, Any]) -> pa.Table:
    """A table without the dropped rows and with the edited conversations."""
    ids = table["id"].to_pylist()
    kept = table.filter(pa.array([id not in dropped for id in ids], pa.bool_()))
    if not any(id in edits for id in kept["id"].to_pylist()):
        return kept
    rows = [row | {"turns": edits.get(row["id"], row["turns"])} for row in kept.to_pylist()]
    return pa.Table.from_pylist(rows, schema=table.schema)


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
    """A step that decides on each row alone: `judge` in Ray Data tasks, decisions gathered."""

    def judge_all(table: pa.Table) -> pa.Table:
        return verdicts(table, map(judge, table.to_pylist()))

    judged = rows.map_batches(judge_all, batch_format="pyarrow", batch_size=None, **options)
    return gather(judged)


def verdicts(table: pa.Table, decisions: Iterator[Decision | None]) -> pa.Table:
    """One line a row: its decision, or an empty verdict where it simply goes on."""
    lines = []
    for id, source, decision in zip(
        table["id"].to_pylist(), table["source"].to_pylist(), decisions, strict=True
    ):
        line = {
            "id": id,
            "source": source,
            "verdict": "",
            "reason": "",
            "evidence": "",
            "turns": "",
        }
        if decision is not None:
            line |= {"verdict": decision.verdict, "reason": decision.reason}
            line |= {"evidence": json.dumps(decision.evidence)}
            line |= {"turns": json.dumps(decision.turns) if decision.turns is not None else ""}
        lines.append(line)
    return pa.Table.from_pylist(lines, schema=VERDICTS)


def gather(judged: ray.data.Dataset) -> StepResult:
    """The decisions among verdict lines, and how many rows of each source were seen."""
    seen: Counter[str] = Counter()
    decisions = []
    for table in tables(judged):
        seen.update(table["source"].to_pylist())
        for line in table.to_pylist():
            if line["verdict"]:
                decisions.append(_decision(line))
    return StepResult(decisions=decisions, seen=seen)


def _decision(line: Row) -> Decision:
    return Decision(
        id=line["id"],
        source=line["source"],
        verdict=line["verdict"],
        reason=line["reason"],
        evidence=json.loads(line["evidence"]),
        turns=json.loads(line["turns"]) if line["turns"] else None,
    )


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
