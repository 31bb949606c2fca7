"""What curation did to each row, and proof that no row is unaccounted for.

A step decides; the ledger keeps its decisions. Rows after a step are the ingested rows with all
decisions so far applied, so nothing but decisions is stored between steps.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from doctor_sun.records import TURNS

Verdict = Literal["dropped", "edited", "review"]

VERDICTS = ("dropped", "edited", "review")

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("id", "step", "verdict", "reason", "evidence", "source")]
)
EDITS_SCHEMA = pa.schema([("id", pa.string()), ("turns", TURNS)])


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One row's fate at one step. `evidence` never holds what the row says."""

    id: str
    source: str
    verdict: Verdict
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    turns: Sequence[Mapping[str, str]] | None = None
    """The new conversation of an edited row."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step returns: its decisions, and how many rows of each source it saw."""

    decisions: Sequence[Decision]
    seen: Mapping[str, int]
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """One line of the funnel: a finished step in numbers, by source."""

    step: str
    rows_in: Mapping[str, int]
    dropped: Mapping[str, int]
    edited: Mapping[str, int]
    review: Mapping[str, int]
    figures: Mapping[str, Any]
    seconds: float

    def rows_out(self) -> Counter[str]:
        """Rows that go on, by source."""
        return Counter(self.rows_in) - Counter(self.dropped)


class Ledger:
    """The decisions of a run, on disk below its folder and in memory."""

    def __init__(self, folder: UPath) -> None:
        """Open the ledger of a run; steps finished earlier are read with `resume`."""
        self.folder = folder
        self.dropped: set[str] = set()
        self.edits: dict[str, Sequence[Mapping[str, str]]] = {}
        self.stages: list[Stage] = []

    def resume(self, step: str) -> bool:
        """Read a finished step's decisions; False when it has not finished."""
        done = self.folder / "steps" / f"{step}.json"
        if not done.exists():
            return False
        entries = _read(self.folder / "ledger" / f"{step}.parquet")
        verdicts = zip(entries["id"].to_pylist(), entries["verdict"].to_pylist(), strict=True)
        dropped = [id for id, verdict in verdicts if verdict == "dropped"]
        edits = _read(self.folder / "steps" / f"{step}.edits.parquet")
        self._apply(Stage(**json.loads(done.read_text())), dropped, edits.to_pylist())
        return True

    def record(self, step: str, result: StepResult, seconds: float) -> Stage:
        """Write a step's decisions, apply them, check the accounts.

        Raises:
            RuntimeError: rows in are not rows out plus dropped, or a row was decided twice.
        """
        ordered = sorted(result.decisions, key=lambda d: (d.id, d.verdict))
        counts: dict[str, Counter[str]] = {name: Counter() for name in VERDICTS}
        for decision in ordered:
            counts[decision.verdict][decision.source] += 1
        stage = Stage(
            step=step,
            rows_in=dict(result.seen),
            dropped=counts["dropped"],
            edited=counts["edited"],
            review=counts["review"],
            figures=dict(result.figures),
            seconds=seconds,
        )
        dropped = [d.id for d in ordered if d.verdict == "dropped"]
        self._check(stage, dropped)
        edits = [{"id": d.id, "turns": d.turns} for d in ordered if d.turns is not None]
        _write(self.folder / "ledger" / f"{step}.parquet", _table(step, ordered))
        _write(
            self.folder / "steps" / f"{step}.edits.parquet",
            pa.Table.from_pylist(edits, schema=EDITS_SCHEMA),
        )
        done = self.folder / "steps" / f"{step}.json"
        done.with_name(f"{step}.part").write_text(json.dumps(stage.__dict__))
        done.with_name(f"{step}.part").rename(done)
        self._apply(stage, dropped, edits)
        return stage

    def _check(self, stage: Stage, dropped: Sequence[str]) -> None:
        if len(set(dropped)) != len(dropped) or self.dropped & set(dropped):
            raise RuntimeError(f"step {stage.step} dropped a row twice")
        if self.stages:
            self.check_count(stage.step, stage.rows_in)

    def check_count(self, where: str, rows: Mapping[str, int]) -> None:
        """Raise RuntimeError unless these are the rows that the last step let through."""
        expected = self.stages[-1].rows_out()
        if +Counter(rows) != +expected:
            raise RuntimeError(
                f"{where} saw {sum(rows.values())} rows where {self.stages[-1].step} let "
                f"{expected.total()} through"
            )

    def _apply(
        self, stage: Stage, dropped: Iterable[str], edits: Iterable[Mapping[str, Any]]
    ) -> None:
        self.stages.append(stage)
        self.dropped.update(dropped)
        self.edits.update({edit["id"]: edit["turns"] for edit in edits})


def _table(step: str, decisions: Sequence[Decision]) -> pa.Table:
    rows = [
        {
            "id": d.id,
            "step": step,
            "verdict": d.verdict,
            "reason": d.reason,
            "evidence": json.dumps(d.evidence, ensure_ascii=False, sort_keys=True),
            "source": d.source,
        }
        for d in decisions
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _read(path: UPath) -> pa.Table:
    with path.open("rb") as stream:
        return pq.read_table(stream)


def _write(path: UPath, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        pq.write_table(table, stream, compression="zstd")


def read_ledger(folder: str | UPath) -> pa.Table:
    """All entries of a finished curation, in the order of its steps."""
    files = sorted((UPath(folder) / "ledger").glob("*.parquet"), key=str)
    return pa.concat_tables([SCHEMA.empty_table(), *map(_read, files)])
