"""The paper's grid of ratios (Table 4 of arXiv 2508.08270) and what follows from it.

The grid has two alignments (E1 medical data only, E2 one general sample for each medical one) and
four instruction tunings (V1 to V4: 0, 0.2, 0.5 and 1 general samples for each medical one), each
trained once. `table4.csv` holds the cells that are known here; the others are read from a file of
one's own (table, model, task, metric, value). While cells are missing, `RECORDED` stands in for
what follows from them, and is marked so; with all cells it is computed and compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from doctor_sun.evaluation.published import TABLES, Cell, figures
from doctor_sun.ratios.results import Results, Run
from doctor_sun.ratios.space import Space, general_fraction

TABLE = next(table for table in TABLES if table.number == 4)
CELLS = Path(__file__).with_name("table4.csv")
ALIGNMENT = {"E1": 0.0, "E2": 1.0}
INSTRUCTION = {"V1": 0.0, "V2": 0.2, "V3": 0.5, "V4": 1.0}
ALIGNMENT_SAMPLES, INSTRUCTION_SAMPLES = 250_000, 60_000  # medical ones
ALIGNMENT_RATE, INSTRUCTION_RATE = 5.54, 2.31  # samples a second
RECORDED: Mapping[str, str] = {
    "general gain of mixing in alignment": "+122.9 %",
    "specialised cost of mixing in alignment": "2.1 %",
    "column-wins": "V1 7, V2 2, V3 11, V4 6",
    "Pareto front": "E1-V1, E2-V1, E2-V3, E2-V4",
}
"""By name of the finding, worked out from the whole table as it is printed."""


@dataclass(frozen=True)
class PaperGrid:
    """The paper's figures, shares of 1, by model and cell, as far as they are known."""

    figures: Mapping[tuple[str, Cell], float]

    @property
    def missing(self) -> list[tuple[str, Cell]]:
        """Model and cell of every figure that is not known."""
        wanted = product(TABLE.models, TABLE.columns)
        return [key for key in wanted if key not in self.figures]

    def results(self) -> Results | None:
        """The grid as a table of runs; None while figures are missing."""
        if self.missing:
            return None
        runs = []
        for model in TABLE.models:
            scores = {column(cell): self.figures[model, cell] for cell in TABLE.columns}
            runs.append(
                Run(
                    name=model,
                    point=point_of(model),
                    scores=scores,
                    objectives=(_mean(scores, "specialised"), _mean(scores, "general")),
                    costs=costs_of(model),
                )
            )
        return Results(space=Space(), runs=runs)


def paper_grid(published: str | None = None) -> PaperGrid:
    """The paper's figures.

    Args:
        published: CSV of further figures, which stand over those that are shipped.

    Raises:
        InputError: the file is missing, or a row is not a figure of a table.
    """
    known = figures(str(CELLS)) | (figures(published) if published else {})
    return PaperGrid(
        {(model, cell): value for (number, model, cell), value in known.items() if number == 4}
    )


def column(cell: Cell) -> str:
    """A cell's column in a table of runs: medical benchmarks are the specialised ones."""
    objective = "general" if cell[0].startswith("mmbench") else "specialised"
    return f"{objective}.{cell[0]}.{cell[1]}"


def _mean(scores: Mapping[str, float], objective: str) -> float:
    own: Sequence[float] = [v for name, v in scores.items() if name.startswith(f"{objective}.")]
    return sum(own) / len(own)


def point_of(model: str) -> tuple[float, float]:
    """General fractions of alignment and of instruction tuning."""
    alignment, instruction = model.split("-")
    return (
        round(general_fraction(ALIGNMENT[alignment]), 4),
        round(general_fraction(INSTRUCTION[instruction]), 4),
    )


def costs_of(model: str) -> dict[str, float]:
    """Samples of one variant and its hours: its tuning and a quarter of its shared alignment.

    The paper gives no hours: they are its samples at LLaVA-1.5-7B's published rates on an A100.
    """
    alignment, instruction = model.split("-")
    aligned = ALIGNMENT_SAMPLES * (1 + ALIGNMENT[alignment]) / len(INSTRUCTION)
    tuned = INSTRUCTION_SAMPLES * (1 + INSTRUCTION[instruction])
    hours = aligned / ALIGNMENT_RATE + tuned / INSTRUCTION_RATE
    return {"samples": aligned + tuned, "accelerator_hours": hours / 3600}
