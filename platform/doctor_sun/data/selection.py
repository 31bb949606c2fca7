"""How much of each source is taken (the paper's Table 1), and how much general data goes with it.

Every row has a place between 0 and 1: a hash of seed and id. Of each source the rows with the
smallest places are kept, so a smaller ratio always selects a subset of a larger one, whatever the
order of the rows. The driver holds ten bytes a row.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import ray.data
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.data.ledger import Decision, StepResult
from doctor_sun.data.rows import lines_of, tables
from doctor_sun.errors import InputError

Kind = tuple[str, str, str]  # source, domain, task
ALL = np.iinfo(np.uint64).max


@dataclass(kw_only=True)
class SelectionConfig:
    """What part of each source is selected."""

    ratios: dict[str, float] = field(default_factory=dict)
    """Part of a source's rows that is kept, 0 to 1, by source; a source not named is kept whole."""

    general_to_medical: dict[str, float] = field(default_factory=dict)
    """General rows for each medical row, by task (`caption`: alignment, `vqa`: instruction tuning;
    the paper: 1.0 and 0.5), after `ratios`; a task not named keeps all its general rows."""

    seed: int = 0
    """Seed of the ranking."""


def places(table: pa.Table, seed: int) -> NDArray[np.uint64]:
    """[rows] the place of each row in the ranking, from the seed and the id."""
    start = hashlib.md5(f"{seed}\n".encode())

    def place(id: str) -> bytes:
        digest = start.copy()
        digest.update(id.encode())
        return digest.digest()[:8]

    return np.frombuffer(b"".join(map(place, table["id"].to_pylist())), ">u8").astype(np.uint64)


@dataclass(frozen=True)
class _Limits:
    """The largest place that is kept."""

    by_source: dict[str, np.uint64]
    general: dict[str, np.uint64]

    def reason(self, kind: Kind, place: np.uint64) -> str:
        """Why a row is not selected; "" when it is."""
        source, domain, task = kind
        if place > self.by_source.get(source, ALL):
            return "not selected"
        if domain == "general" and place > self.general.get(task, ALL):
            return "more general rows than asked for"
        return ""


def _largest(values: NDArray[np.uint64], count: int) -> np.uint64:
    """The largest of the `count` smallest values."""
    if count >= len(values):
        return np.uint64(ALL)
    return np.uint64(np.partition(values, count - 1)[count - 1]) if count else np.uint64(0)


def limits(kinds: dict[Kind, NDArray[np.uint64]], config: SelectionConfig) -> _Limits:
    """What is kept of rows whose places are given by source, domain and task.

    Raises:
        InputError: a ratio outside its range, or of a source that has no rows.
    """
    sources = sorted({source for source, _, _ in kinds})
    by_source = {}
    for source, ratio in config.ratios.items():
        if source not in sources:
            known = ", ".join(sources)
            raise InputError(f"selection.ratios names '{source}'; the sources are {known}")
        if not 0 <= ratio <= 1:
            raise InputError(f"selection.ratios of '{source}' is {ratio}; it must be 0 to 1")
        own = np.concatenate([found for kind, found in kinds.items() if kind[0] == source])
        by_source[source] = _largest(own, round(ratio * len(own)))
    general = {}
    for task, ratio in config.general_to_medical.items():
        if ratio < 0:
            raise InputError(f"selection.general_to_medical of '{task}' is {ratio}: below 0")
        left = {"medical": [np.zeros(0, np.uint64)], "general": [np.zeros(0, np.uint64)]}
        for kind, found in kinds.items():
            if kind[2] == task:
                left[kind[1]].append(found[found <= by_source.get(kind[0], ALL)])
        medical = sum(map(len, left["medical"]))
        general[task] = _largest(np.concatenate(left["general"]), round(ratio * medical))
    return _Limits(by_source, general)


def _kinds(table: pa.Table) -> list[Kind]:
    columns = (table[name].to_pylist() for name in ("source", "domain", "task"))
    return list(zip(*columns, strict=True))


def decide(rows: ray.data.Dataset, config: SelectionConfig, work: UPath) -> StepResult:
    """Drop what the ratios do not select."""

    def placed(table: pa.Table) -> pa.Table:
        columns = table.select(["source", "domain", "task"])
        return columns.append_column("place", pa.array(places(table, config.seed)))

    found: dict[Kind, list[NDArray[np.uint64]]] = {}
    for block in tables(rows.map_batches(placed, batch_format="pyarrow", batch_size=None)):
        own = np.array(["\n".join(kind) for kind in _kinds(block)])
        for name in sorted(set(own)):
            kind = found.setdefault(tuple(name.split("\n")), [])
            kind.append(block["place"].to_numpy()[own == name])
    kept = limits({kind: np.concatenate(parts) for kind, parts in found.items()}, config)

    def judge(table: pa.Table) -> pa.Table:
        return lines_of(table, _decisions(table, kept, config))

    lines = rows.map_batches(judge, batch_format="pyarrow", batch_size=None)
    return StepResult(lines=lines, by_part=True)


def _decisions(
    table: pa.Table, kept: _Limits, config: SelectionConfig
) -> Iterator[Decision | None]:
    rows = zip(table["id"].to_pylist(), _kinds(table), places(table, config.seed), strict=True)
    for id, kind, place in rows:
        reason = kept.reason(kind, place)
        if not reason:
            yield None
            continue
        asked = config.ratios if reason == "not selected" else config.general_to_medical
        ratio = asked[kind[0] if reason == "not selected" else kind[2]]
        yield Decision(
            id=id, source=kind[0], verdict="dropped", reason=reason, evidence={"ratio": ratio}
        )
