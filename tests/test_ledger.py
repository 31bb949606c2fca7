"""The ledger's accounts balance, survive a restart, and refuse what does not add up."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data
from upath import UPath

from doctor_sun.data.ledger import SCHEMA, Decision, Ledger, StepResult, ledger_table, thin_file
from doctor_sun.data.rows import LINES, THIN_SCHEMA, Row, decide_each, lines_of, rows_after

pytestmark = pytest.mark.slow
PARTS, ROWS = 3, 4
TURNS = [{"role": "user", "text": "[NAME]"}, {"role": "assistant", "text": "yes"}]
OLD = [{"role": "user", "text": "Who?"}, {"role": "assistant", "text": "yes"}]


def drop(id: str, reason: str = "r") -> Decision:
    return Decision(id=id, source="s", verdict="dropped", reason=reason, evidence={"kept": "b"})


def edit(id: str) -> Decision:
    return Decision(id=id, source="s", verdict="edited", reason="r", turns=TURNS)


def row(part: int, number: int) -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys(THIN_SCHEMA.names, "")
    lists: dict[str, Any] = {"image_keys": [], "parents": [], "fingerprints": [], "turns": OLD}
    id = f"{part}-{number}"
    return empty | lists | {"id": id, "source": "s", "part": part, "row": number}


def keep(_: Row) -> None:
    return None


@pytest.fixture
def ledger(tmp_path: Path, ray_cluster: None) -> Ledger:
    """A ledger of twelve ingested rows in three parts."""
    opened = Ledger(UPath(tmp_path))
    opened.thin.mkdir(parents=True)
    lines = []
    for part in range(PARTS):
        rows = pa.Table.from_pylist([row(part, n) for n in range(ROWS)], schema=THIN_SCHEMA)
        pq.write_table(rows, str(thin_file(opened.thin, part)))
        lines.append(lines_of(rows, [None] * ROWS))
    result = StepResult(lines=ray.data.from_arrow(lines), by_part=True)
    opened.record("00-ingest", result, lambda: 0.1)
    return opened


def result_of(ledger: Ledger, decisions: Sequence[Decision], **options: Any) -> StepResult:
    by_id = {decision.id: decision for decision in decisions}
    result = decide_each(rows_after(ledger), lambda row: by_id.get(row["id"]))
    return StepResult(lines=result.lines, by_part=True, alone=True, **options)


def ids(ledger: Ledger) -> list[str]:
    return sorted(row["id"] for row in rows_after(ledger).iter_rows())


def test_rows_in_are_rows_out_plus_dropped(ledger: Ledger) -> None:
    stage = ledger.record("01-one", result_of(ledger, [drop("0-1"), edit("2-3")]), lambda: 0.1)
    assert stage.rows_in == {"s": 12}
    assert stage.rows_out() == {"s": 11}
    assert stage.parts == {"0": 3, "1": 4, "2": 4}
    assert "0-1" not in ids(ledger)
    said = {row["id"]: row["turns"] for row in rows_after(ledger).iter_rows()}
    assert said["2-3"] == TURNS
    assert said["2-2"] == OLD
    ledger.check_count("the result", {"s": 11})
    with pytest.raises(RuntimeError, match="saw 2 rows"):
        ledger.check_count("the result", {"s": 2})


def test_a_lost_row_is_noticed(ledger: Ledger) -> None:
    lines = result_of(ledger, []).lines.filter(lambda line: line["id"] != "1-2")
    with pytest.raises(RuntimeError, match="saw 3 rows of part 1"):
        ledger.record("01-one", StepResult(lines=lines, by_part=True), lambda: 0.1)


def test_no_row_is_decided_twice(ledger: Ledger) -> None:
    twice = decide_each(rows_after(ledger), keep).lines
    with pytest.raises(Exception, match="twice"):
        ledger.record("01-one", StepResult(lines=twice.union(twice)), lambda: 0.1)


def test_a_review_stands_beside_the_verdict(ledger: Ledger) -> None:
    look = Decision(id="1-1", source="s", verdict="review", reason="look")
    own = result_of(ledger, [drop("0-1"), look]).lines
    more = pa.Table.from_pylist(
        [{"part": 0, "id": "0-1", "source": "s", "verdict": "review", "reason": "look"}],
        schema=LINES,
    )
    result = StepResult(lines=own.union(ray.data.from_arrow(more)))
    stage = ledger.record("01-one", result, lambda: 0.1)
    assert stage.rows_out().total() == 11
    assert stage.by_source("review") == {"s": 2}


def test_lines_in_any_order_find_their_parts(ledger: Ledger) -> None:
    lines = result_of(ledger, [drop("0-1"), drop("2-0")]).lines.random_shuffle(seed=3)
    stage = ledger.record("01-one", StepResult(lines=lines), lambda: 0.1)
    assert stage.parts == {"0": 3, "1": 4, "2": 3}
    assert ids(ledger) == sorted({f"{p}-{n}" for p in range(3) for n in range(4)} - {"0-1", "2-0"})


def test_a_second_ledger_takes_over(ledger: Ledger) -> None:
    decisions = [drop("0-0"), edit("1-1")]
    ledger.record("01-one", result_of(ledger, decisions, figures=lambda: {"n": 2}), lambda: 0.1)
    second = Ledger(ledger.folder)
    assert not Ledger(ledger.folder / "elsewhere").resume("00-ingest")
    assert second.resume("00-ingest")
    assert second.resume("01-one")
    assert second.stages[-1].figures == {"n": 2}
    assert ids(second) == ids(ledger)
    entries = ledger_table(ledger.folder)
    assert entries.schema == SCHEMA
    assert entries["verdict"].to_pylist() == ["dropped", "edited"]
    assert "[NAME]" not in json.dumps(entries.to_pylist())


def test_an_interrupted_step_goes_on_with_the_other_parts(ledger: Ledger) -> None:
    decisions = [drop("0-0"), drop("1-1"), edit("2-2")]

    def fail(table: pa.Table) -> pa.Table:
        if table["part"][0].as_py() == 2:
            raise OSError("the node went away")
        return table

    broken = result_of(ledger, decisions).lines.map_batches(
        fail, batch_format="pyarrow", batch_size=None
    )
    with pytest.raises(Exception, match="the node went away"):
        ledger.record("01-one", StepResult(lines=broken, by_part=True, alone=True), lambda: 0.1)
    again = Ledger(ledger.folder)
    assert again.resume("00-ingest")
    assert not again.resume("01-one")
    finished = again.finished_parts("01-one")
    assert set(finished) <= {0, 1}
    by_id = {decision.id: decision for decision in decisions}
    rest = decide_each(rows_after(again, finished), lambda row: by_id.get(row["id"]))
    stage = again.record("01-one", rest, lambda: 0.1)
    assert stage.rows_in == {"s": 12}
    assert stage.parts == {"0": 3, "1": 3, "2": 4}
    assert stage.by_source("edited") == {"s": 1}
