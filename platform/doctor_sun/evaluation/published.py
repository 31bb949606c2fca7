"""The paper's tables: which models and benchmarks they hold, and the figures that are known here.

Tables 3 to 6 of Doctor Sun (arXiv 2508.08270). A cell without a figure is shown empty: the whole
tables are not reproduced here. Their other cells are read from a CSV file of one's own (table,
model, task, metric, value), which `jobs/compare.py --published FILE` takes.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

from upath import UPath

from doctor_sun.errors import InputError
from doctor_sun.evaluation.scoring import vqa

Cell = tuple[str, str]
"""Task and metric."""


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """One table of the paper."""

    number: int
    title: str
    models: tuple[str, ...]
    columns: tuple[Cell, ...]
    notes: tuple[str, ...] = ()


def _all(metrics: tuple[str, ...], *tasks: str) -> tuple[Cell, ...]:
    return tuple((task, metric) for task in tasks for metric in metrics)


ACCURACY = ("accuracy",)
ONE_SEED = "The paper trained each model once and gives no intervals."
SWAPPED = (
    "The paper's Table 2 swaps two rows: Path-VQA has 6,719 test questions (pathology), SLAKE has "
    "1,061 in English."
)
SAMPLED = "The paper's script samples (temperature 0.1); ours decodes greedily."
TABLES = (
    PaperTable(
        number=3,
        title="Medical visual question answering",
        models=("RadFM", "LLaVA-Med", "LLaVA-Med-v1.5", "DocS-M", "DocS-GL", "DocS-FV"),
        columns=(
            *_all(vqa.PUBLISHED, "vqa-rad", "slake", "path-vqa"),
            ("mmbench-dev-zh", "accuracy"),
        ),
        notes=(SWAPPED, SAMPLED, ONE_SEED),
    ),
    PaperTable(
        number=4,
        title="Ratio of medical to general data in alignment (E) and instruction tuning (V)",
        models=tuple(f"E{e}-V{v}" for e in (1, 2) for v in (1, 2, 3, 4)),
        columns=(*_all(vqa.PUBLISHED, "vqa-rad", "slake"), ("mmbench-dev-zh", "accuracy")),
        notes=("General data come on top, so V4 is trained twice as long as V1.", ONE_SEED),
    ),
    PaperTable(
        number=5,
        title="Two-stage fine-tuning of the language model",
        models=("Qwen-14B", "InternLM-20B", "Qwen1.5-7B", "Stage 1", "Stage 2"),
        columns=_all(ACCURACY, "ceval", "bbh", "mbpp", "cmb"),
        notes=(ONE_SEED,),
    ),
    PaperTable(
        number=6,
        title="Medical language models",
        models=("DISC-MedLLM", "Mixtral-8x7B", "HuatuoGPT", "Bentsao", "Doctor Sun"),
        columns=_all(ACCURACY, "cmb", "medqa", "pubmedqa"),
        notes=(ONE_SEED,),
    ),
)
FIGURES: Mapping[int, Mapping[str, Mapping[Cell, float]]] = {
    3: {
        "RadFM": {("mmbench-dev-zh", "accuracy"): 0.001},
        "LLaVA-Med": {("mmbench-dev-zh", "accuracy"): 0.003},
        "DocS-M": {
            ("vqa-rad", "closed_accuracy"): 0.641,
            ("vqa-rad", "open_accuracy"): 0.255,
            ("mmbench-dev-zh", "accuracy"): 0.536,
        },
    },
    4: {"E1-V1": {("mmbench-dev-zh", "accuracy"): 0.019}},
}


def figures(file: str | None = None) -> dict[tuple[int, str, Cell], float]:
    """All known figures, shares of 1, by table, model and cell; a file adds to them.

    Raises:
        InputError: the file is missing, or a row is not a figure of a table.
    """
    known = {
        (number, model, cell): value
        for number, models in FIGURES.items()
        for model, cells in models.items()
        for cell, value in cells.items()
    }
    if file is None:
        return known
    path = UPath(file)
    if not path.is_file():
        raise InputError(f"published figures {file} do not exist")
    cells = {table.number: table.columns for table in TABLES}
    for line, row in enumerate(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))), 2):
        try:
            number, value = int(row["table"]), float(row["value"])
            known[number, row["model"], (row["task"], row["metric"])] = value
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{file}, line {line}: not table, model, task, metric, value"
            ) from None
        if number not in cells or not 0 <= value <= 1:
            raise InputError(f"{file}, line {line}: the paper has tables 3 to 6, shares of 1")
        if (row["task"], row["metric"]) not in cells[number]:
            raise InputError(f"{file}, line {line}: table {number} has no such task and metric")
    return known
