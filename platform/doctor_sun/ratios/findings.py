"""The paper's questions asked of any grid of runs, each answer with its formula.

A figure is worked out for every seed that ran the whole grid; the interval is that of their mean
(Student's t). One seed has no interval.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from botorch.utils.multi_objective.pareto import is_non_dominated
from numpy.typing import NDArray
from scipy import stats

from doctor_sun.errors import InputError
from doctor_sun.ratios.paper import INSTRUCTION, RECORDED, PaperGrid
from doctor_sun.ratios.results import Results, Run
from doctor_sun.ratios.space import general_fraction, ratio_name

LEVEL = 0.95
GAIN = "general gain of mixing in alignment"
COST = "specialised cost of mixing in alignment"
TUNING_GAIN = "general gain of mixing in instruction tuning"
WINS = "column-wins"
FRONT = "Pareto front"
FORMULAS = {
    GAIN: "mean(general scores with the most general data in "
    "alignment) / mean(those with the least) - 1; the paper: mean(E2-V1..V4) / mean(E1-V1..V4) - 1 "
    "on MMBench",
    COST: "mean(specialised scores with the least general "
    "data in alignment) / mean(those with the most) - 1; the paper: mean(E1-V1..V4) / "
    "mean(E2-V1..V4) - 1 over twelve columns",
    TUNING_GAIN: "mean(general scores with the most general "
    "data in tuning) / mean(those with the least) - 1; the paper: V4 over V1, both alignments",
    WINS: "for each alignment and benchmark column the tuning with the highest mean "
    "score, counted; a tie counts for each",
    FRONT: "mixtures whose mean (specialised, general) scores no other mixture dominates",
}
COMPUTED, RECORD = "computed", "recorded"
Grid = Mapping[tuple[float, float], Run]
"""The runs of one seed by (alignment, instruction) fraction."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer."""

    name: str
    formula: str
    value: str
    interval: tuple[float, float] | None = None
    """Of a relative change, over seeds."""
    source: str = COMPUTED

    def sentence(self) -> str:
        """The answer with its interval and formula."""
        value = self.value
        if self.interval:
            low, high = (f"{100 * bound:+.1f}" for bound in self.interval)
            value += f" ({low} to {high} %, {LEVEL:.0%} over seeds)"
        mark = "" if self.source == COMPUTED else " (as recorded from the print, not computed here)"
        return f"{self.name}: {value}{mark} = {self.formula}"


def t_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """Interval of a mean over seeds; None from a single one."""
    if len(values) < 2:
        return None
    spread = float(stats.sem(values))
    if spread == 0:
        return float(np.mean(values)), float(np.mean(values))
    low, high = stats.t.interval(level, len(values) - 1, loc=np.mean(values), scale=spread)
    return float(low), float(high)


def front(scores: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows [n, objectives] no other row dominates: more is better."""
    kept: NDArray[np.bool_] = is_non_dominated(torch.as_tensor(scores), deduplicate=False).numpy()
    return kept


def findings(results: Results) -> list[Finding]:
    """All answers that the runs give; those about stages only where a whole grid was run."""
    mixtures = results.mixtures
    kept = front(np.array([m.objectives for m in mixtures]))
    names = [m.name for m, on in zip(mixtures, kept, strict=True) if on]
    last = Finding(name=FRONT, formula=FORMULAS[FRONT], value=", ".join(names))
    grids = list(_grids(results).values())
    if not grids:
        return [last]
    cost = [1 / (1 + relative_change(grid, 0, 0)) - 1 for grid in grids]
    wins = ", ".join(f"{tuning(g)} {count}" for g, count in column_wins(results).items())
    return [
        _change(GAIN, [relative_change(grid, 0, 1) for grid in grids]),
        _change(COST, cost, sign=""),
        _change(TUNING_GAIN, [relative_change(grid, 1, 1) for grid in grids]),
        Finding(name=WINS, formula=FORMULAS[WINS], value=wins),
        last,
    ]


def _change(name: str, values: Sequence[float], sign: str = "+") -> Finding:
    value = f"{100 * float(np.mean(values)):{sign}.1f} %"
    return Finding(name=name, formula=FORMULAS[name], value=value, interval=t_interval(values))


def _grids(results: Results) -> dict[str, Grid]:
    """By seed, the runs of those seeds that ran every cell of one and the same grid."""
    if not results.space.drawable:
        return {}
    by_seed: dict[str, dict[tuple[float, float], Run]] = {}
    for run in results.runs:
        first, second = run.point or (0.0, 0.0)
        by_seed.setdefault(run.seed, {})[first, second] = run
    points = set().union(*by_seed.values())
    levels = [sorted({point[axis] for point in points}) for axis in (0, 1)]
    whole = len(levels[0]) * len(levels[1])
    if min(map(len, levels)) < 2:
        return {}
    return {seed: grid for seed, grid in by_seed.items() if len(grid) == whole}


def relative_change(grid: Grid, axis: int, objective: int) -> float:
    """Change of an objective from the least to the most general data in a stage (0: alignment)."""
    levels = sorted({point[axis] for point in grid})
    low, high = (
        float(np.mean([r.objectives[objective] for p, r in grid.items() if p[axis] == level]))
        for level in (levels[0], levels[-1])
    )
    return high / low - 1


def column_wins(results: Results) -> dict[float, int]:
    """By tuning fraction: in how many benchmark columns it is best, over all alignments."""
    wins: Counter[float] = Counter()
    mixtures = results.mixtures
    for alignment in sorted({m.point[0] for m in mixtures}):
        own = [m for m in mixtures if m.point[0] == alignment]
        for column in own[0].runs[0].scores:
            means = {m.point[1]: m.score(column) for m in own}
            wins.update(place for place, mean in means.items() if mean == max(means.values()))
    return {place: wins[place] for place in sorted({m.point[1] for m in mixtures})}


def tuning(fraction: float) -> str:
    """The paper's name of a tuning's ratio, or the ratio."""
    for name, ratio in INSTRUCTION.items():
        if abs(general_fraction(ratio) - fraction) < 1e-3:
            return name
    return ratio_name(fraction)


def paper_findings(grid: PaperGrid) -> list[Finding]:
    """What the paper's table says: computed from its cells, or as recorded while some are missing.

    Raises:
        InputError: the cells are all there and give something else than what is recorded.
    """
    results = grid.results()
    if results is None:
        return [
            Finding(name=name, formula=FORMULAS[name], value=value, source=RECORD)
            for name, value in RECORDED.items()
        ]
    computed = findings(results)
    for finding in computed:
        if RECORDED.get(finding.name, finding.value) != finding.value:
            raise InputError(
                f"the cells of Table 4 give {finding.value} as {finding.name}, the printed table "
                f"{RECORDED[finding.name]}: a cell is not as printed"
            )
    return computed
