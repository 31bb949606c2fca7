"""A table of finished runs: a CSV file with a run a row.

| column | what it holds |
| --- | --- |
| `run` | a name; none takes `run N` |
| `seed` | of the run; rows of one mixture are its repeats |
| `share.STAGE.SOURCE` | share of a source's rows in a stage's mixture; they sum to one |
| `STAGE_general`, `STAGE_ratio` | instead: general share g, or k = g / (1 - g) |
| `specialised.NAME`, `general.NAME` | scores, shares of 1; their mean is the objective |
| `specialised`, `general` | instead: the objectives themselves |
| `samples`, `tokens`, `accelerator_hours` | what the run cost, its part of an alignment included |

A row whose mixture is empty is a reference (the base model, the aligned one): it is not fitted, and
the forgetting report compares with it. STAGE is `alignment` or `instruction` in the paper's case.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.errors import InputError
from doctor_sun.ratios.space import Space, general_fraction

OBJECTIVES = ("specialised", "general")
COSTS = ("samples", "tokens", "accelerator_hours")
SUM_ERROR = 1e-3  # by which printed shares may miss one
DIGITS = 4  # of a share: one row in ten thousand


@dataclass(frozen=True, kw_only=True)
class Run:
    """One finished run, or a reference without a mixture."""

    name: str
    seed: str = ""
    point: tuple[float, ...] | None = None
    """Coordinates in the search space; None for a reference."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Shares of 1 by column, `OBJECTIVE.NAME`."""
    objectives: tuple[float, float]
    """Specialised and general score, shares of 1."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """Those of `COSTS` that are known."""


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """The runs of one point."""

    name: str
    point: tuple[float, ...]
    runs: Sequence[Run]

    @property
    def objectives(self) -> NDArray[np.float64]:
        """Mean scores [objectives] over the runs."""
        means: NDArray[np.float64] = np.mean([run.objectives for run in self.runs], axis=0)
        return means

    def score(self, column: str) -> float:
        """Mean of one benchmark over the runs."""
        return sum(run.scores[column] for run in self.runs) / len(self.runs)

    def cost(self, name: str) -> float | None:
        """What the runs cost together; None where one of them does not say."""
        known = [run.costs[name] for run in self.runs if name in run.costs]
        return sum(known) if len(known) == len(self.runs) else None


@dataclass(frozen=True, kw_only=True)
class Results:
    """The runs of a table and the space they lie in."""

    space: Space
    runs: Sequence[Run]
    references: Sequence[Run] = ()

    @property
    def points(self) -> NDArray[np.float64]:
        """Coordinates [runs, dimensions]."""
        return np.array([run.point for run in self.runs], dtype=float)

    @property
    def objectives(self) -> NDArray[np.float64]:
        """Scores [runs, objectives]."""
        return np.array([run.objectives for run in self.runs], dtype=float)

    @property
    def mixtures(self) -> list[Mixture]:
        """The runs by point, in the table's order; named after the first run of each."""
        by_point: dict[tuple[float, ...], list[Run]] = {}
        for run in self.runs:
            by_point.setdefault(run.point or (), []).append(run)
        return [Mixture(name=own[0].name, point=point, runs=own) for point, own in by_point.items()]

    @property
    def repeated(self) -> bool:
        """Whether some mixture was run more than once, so that noise can be told from ratio."""
        return len(self.mixtures) < len(self.runs)

    def repeat_noise(self) -> NDArray[np.float64] | None:
        """Pooled standard deviation [objectives] between repeats; None where there are none."""
        repeats = [m for m in self.mixtures if len(m.runs) > 1]
        if not repeats:
            return None
        squares = [
            ((np.array([r.objectives for r in m.runs]) - m.objectives) ** 2) for m in repeats
        ]
        freedom = sum(len(own) - 1 for own in squares)
        noise: NDArray[np.float64] = np.sqrt(sum(own.sum(axis=0) for own in squares) / freedom)
        return noise


def read_results(file: str, most: float = 0.7) -> Results:
    """Read a table of runs.

    Args:
        file: CSV, path or URI.
        most: largest sum of a stage's shares beside the first source's that will be proposed.

    Raises:
        InputError: the file is missing, a column is unknown or missing, or a cell is wrong.
    """
    path = UPath(file)
    if not path.is_file():
        raise InputError(f"table of runs {file} does not exist")
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")))
    heads = [head for head in reader.fieldnames or [] if head]
    stages = _stages(heads, file)
    _check_columns(heads, stages, file)
    space = Space(stages=stages, most=most)
    runs: list[Run] = []
    references: list[Run] = []
    for line, row in enumerate(reader, 2):
        cells = _Row(row, f"{file}, line {line}")
        run = _run(cells, space, heads, f"run {line - 1}")
        (references if run.point is None else runs).append(run)
    if not runs:
        raise InputError(f"{file} holds no run with a mixture")
    return Results(space=space, runs=runs, references=references)


def _stages(heads: Sequence[str], file: str) -> dict[str, tuple[str, ...]]:
    """Sources by stage, as the columns name them."""
    stages: dict[str, tuple[str, ...]] = {}
    for head in heads:
        if head.startswith("share."):
            parts = head.split(".", 2)
            if len(parts) < 3:
                raise InputError(f"{file}: column '{head}' is not share.STAGE.SOURCE")
            stages[parts[1]] = (*stages.get(parts[1], ()), parts[2])
        elif head.endswith(("_general", "_ratio")):
            stages[head.rsplit("_", 1)[0]] = ("medical", "general")
    if not stages:
        raise InputError(
            f"{file} has no mixture: give alignment_general and instruction_general "
            "(or _ratio), or share.STAGE.SOURCE columns"
        )
    for stage, sources in stages.items():
        if len(sources) < 2:
            raise InputError(f"{file}: stage '{stage}' has one source only: nothing is mixed")
    return stages


def _check_columns(heads: Sequence[str], stages: Mapping[str, object], file: str) -> None:
    """Refuse unknown columns and objectives without one."""
    mixtures = {f"{stage}{end}" for stage in stages for end in ("_general", "_ratio")}
    plain = {"run", "seed", *COSTS, *OBJECTIVES, *mixtures}
    for head in heads:
        if head not in plain and head.split(".", 1)[0] not in ("share", *OBJECTIVES):
            raise InputError(f"{file} has an unknown column '{head}'")
    for objective in OBJECTIVES:
        if not any(head == objective or head.startswith(f"{objective}.") for head in heads):
            raise InputError(f"{file} has no column '{objective}' and no '{objective}.NAME'")


class _Row:
    """The cells of one row; its messages say which."""

    def __init__(self, cells: Mapping[str, str | None], where: str) -> None:
        self.cells = {name: (text or "").strip() for name, text in cells.items() if name}
        self.where = where

    def number(self, column: str, most: float = math.inf) -> float | None:
        """A number from 0 to `most`; None for an empty cell or a missing column."""
        text = self.cells.get(column, "")
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            raise InputError(f"{self.where}: '{column}' is not a number") from None
        if not 0 <= value <= most:  # NaN as well
            limit = "" if most == math.inf else f" to {most:g}"
            raise InputError(f"{self.where}: '{column}' is {text}, not from 0{limit}")
        return value


def _run(row: _Row, space: Space, heads: Sequence[str], name: str) -> Run:
    scores = {
        head: value
        for head in heads
        if head.split(".", 1)[0] in OBJECTIVES and (value := row.number(head, 1)) is not None
    }
    costs = {name: value for name in COSTS if (value := row.number(name)) is not None}
    return Run(
        name=row.cells.get("run") or name,
        seed=row.cells.get("seed", ""),
        point=_point(row, space),
        scores={head: value for head, value in scores.items() if head not in OBJECTIVES},
        objectives=(
            _objective(row, heads, scores, "specialised"),
            _objective(row, heads, scores, "general"),
        ),
        costs=costs,
    )


def _objective(
    row: _Row, heads: Sequence[str], scores: Mapping[str, float], objective: str
) -> float:
    """The objective's own column, else the mean of all its benchmarks."""
    if objective in scores:
        return scores[objective]
    columns = [head for head in heads if head.startswith(f"{objective}.")]
    for column in columns or [objective]:
        if column not in scores:
            raise InputError(f"{row.where}: '{column}' is empty")
    return sum(scores[column] for column in columns) / len(columns)


def _point(row: _Row, space: Space) -> tuple[float, ...] | None:
    """The coordinates of a row's mixture; None where it names none."""
    shares = {stage: _shares(row, stage, own) for stage, own in space.stages.items()}
    given = [stage for stage, own in shares.items() if own is not None]
    if not given:
        return None
    if len(given) < len(shares):
        missing = next(stage for stage in shares if stage not in given)
        raise InputError(f"{row.where}: the mixture of stage '{missing}' is missing")
    return tuple(round(share, DIGITS) for own in shares.values() for share in (own or ())[1:])


def _shares(row: _Row, stage: str, sources: Sequence[str]) -> tuple[float, ...] | None:
    """The shares of one stage's sources."""
    fraction = row.number(f"{stage}_general", 1)
    ratio = row.number(f"{stage}_ratio")
    found = [row.number(f"share.{stage}.{source}", 1) for source in sources]
    ways = [fraction is not None, ratio is not None, any(v is not None for v in found)]
    if sum(ways) > 1:
        raise InputError(f"{row.where}: the mixture of stage '{stage}' is given twice")
    if fraction is not None:
        return 1 - fraction, fraction
    if ratio is not None:
        return 1 - general_fraction(ratio), general_fraction(ratio)
    if not ways[2]:
        return None
    shares = tuple(value or 0.0 for value in found)
    if abs(sum(shares) - 1) > SUM_ERROR:
        raise InputError(f"{row.where}: the shares of stage '{stage}' sum to {sum(shares):g}")
    return tuple(share / sum(shares) for share in shares)
