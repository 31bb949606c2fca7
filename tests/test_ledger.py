"""The ledger's accounts balance, survive a restart, and refuse what does not add up."""

from pathlib import Path

import pytest
from upath import UPath

from doctor_sun.data.ledger import SCHEMA, Decision, Ledger, StepResult, read_ledger

TURNS = [{"role": "user", "text": "[NAME]"}, {"role": "assistant", "text": "yes"}]


def drop(id: str) -> Decision:
    return Decision(id=id, source="s", verdict="dropped", reason="r", evidence={"kept": "b"})


def edit(id: str) -> Decision:
    return Decision(id=id, source="s", verdict="edited", reason="r", turns=TURNS)


def test_rows_in_are_rows_out_plus_dropped(tmp_path: Path) -> None:
    ledger = Ledger(UPath(tmp_path))
    ledger.record("0-one", StepResult(decisions=[drop("a")], seen={"s": 5}), 0.1)
    ledger.record("1-two", StepResult(decisions=[drop("b"), edit("c")], seen={"s": 4}), 0.1)
    assert [sum(s.rows_in.values()) for s in ledger.stages] == [5, 4]
    assert ledger.stages[-1].rows_out() == {"s": 3}
    ledger.check_count("the result", {"s": 3})
    with pytest.raises(RuntimeError, match="saw 2 rows"):
        ledger.check_count("the result", {"s": 2})


def test_a_lost_row_is_noticed(tmp_path: Path) -> None:
    ledger = Ledger(UPath(tmp_path))
    ledger.record("0-one", StepResult(decisions=[], seen={"s": 5}), 0.1)
    with pytest.raises(RuntimeError, match="saw 4 rows"):
        ledger.record("1-two", StepResult(decisions=[], seen={"s": 4}), 0.1)


def test_no_row_is_dropped_twice(tmp_path: Path) -> None:
    ledger = Ledger(UPath(tmp_path))
    ledger.record("0-one", StepResult(decisions=[drop("a")], seen={"s": 5}), 0.1)
    with pytest.raises(RuntimeError, match="twice"):
        ledger.record("1-two", StepResult(decisions=[drop("a")], seen={"s": 4}), 0.1)


def test_a_second_ledger_takes_over(tmp_path: Path) -> None:
    first = Ledger(UPath(tmp_path))
    assert not first.resume("0-one")
    first.record("0-one", StepResult(decisions=[drop("a"), edit("c")], seen={"s": 5}), 0.1)
    second = Ledger(UPath(tmp_path))
    assert second.resume("0-one")
    assert second.dropped == {"a"}
    assert list(second.edits) == ["c"]
    assert second.stages[0].rows_out() == {"s": 4}
    entries = read_ledger(tmp_path)
    assert entries.schema == SCHEMA
    assert entries["verdict"].to_pylist() == ["dropped", "edited"]
    assert not any("[NAME]" in str(value) for row in entries.to_pylist() for value in row.values())
