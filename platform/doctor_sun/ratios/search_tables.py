"""A search as the tables that the report reads, and one of all its trials."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from upath import UPath

from doctor_sun.files import complete_file
from doctor_sun.ratios.ledger import COLUMNS as LEDGER_COLUMNS
from doctor_sun.ratios.mixtures import shares_at
from doctor_sun.ratios.paper import TABLE, point_of
from doctor_sun.ratios.trial import Bench, Outcome, Trial

PAPER = {model: point_of(model) for model in TABLE.models}


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Names of the files."""

    results: str = "results.csv"
    """Of `ratios/results.py`: a row a trial that came to its scores, and the references."""
    ledger: str = "ledger.csv"
    """Of `ratios/ledger.py`: what each of them read."""
    trials: str = "trials.csv"
    """Every trial: how far it came, what it took."""


def mixture_name(trial: Trial) -> str:
    """What a trial's mixture is called: as in the paper, where it is one of its."""
    joined = "-".join(f"{share:.4g}" for share in trial.point)
    return next((model for model, point in PAPER.items() if point == trial.point), joined)


def write_tables(
    folder: UPath,
    bench: Bench,
    outcomes: Sequence[Outcome],
    references: Mapping[str, Mapping[str, float]],
) -> Tables:
    """Write all three.

    Args:
        folder: where to.
        bench: of the search.
        outcomes: its trials.
        references: scores of models without a mixture of their own, by name.
    """
    tables = Tables()
    sharing = Counter(part.folder for one in outcomes for part in one.parts)
    scored = [one for one in outcomes if one.scores]
    shares = [
        f"share.{stage}.{source}" for stage, own in bench.space.stages.items() for source in own
    ]
    columns = sorted(scored[0].scores, reverse=True) if scored else []
    rows = [
        [
            *(mixture_name(one.trial), str(one.trial.repeat)),
            *(f"{v:.6f}" for own in shares_at(bench.space, one.trial.point).values() for v in own),
            *(f"{one.scores[column]:.6f}" for column in columns),
            *(f"{spent:.6g}" for spent in costs(one, sharing)),
        ]
        for one in scored
    ]
    rows += [
        [name, "", *([""] * len(shares)), *(f"{own[c]:.6f}" for c in columns), "", "", ""]
        for name, own in references.items()
    ]
    head = ["run", "seed", *shares, *columns, "samples", "tokens", "accelerator_hours"]
    _write(folder / tables.results, head, rows)
    ledger = [
        [
            *(f"{mixture_name(one.trial)} seed {one.trial.repeat}", part.stage, source),
            *(str(read["rows"]), str(read["tokens"])),
        ]
        for one in scored
        for part in one.parts
        for source, read in part.read.items()
    ]
    _write(folder / tables.ledger, LEDGER_COLUMNS, ledger)
    every = [
        [
            *(mixture_name(one.trial), str(one.trial.repeat)),
            *(f"{one.stopped or 1:.3f}", f"{costs(one, sharing)[2]:.4f}"),
        ]
        for one in outcomes
    ]
    _write(folder / tables.trials, ["run", "seed", "fraction", "accelerator_hours"], every)
    return tables


def costs(one: Outcome, sharing: Mapping[str, int]) -> tuple[float, float, float]:
    """Rows, tokens and accelerator hours of a trial.

    Args:
        one: the trial.
        sharing: how many trials share a stage, by its folder; each bears its part.
    """
    rows, tokens, hours = 0.0, 0.0, 0.0
    for part in one.parts:
        share = 1 / sharing[part.folder]
        rows += share * sum(read["rows"] for read in part.read.values())
        tokens += share * sum(read["tokens"] for read in part.read.values())
        hours += share * part.hours
    return rows, tokens, hours


def _write(path: UPath, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([head, *rows])
    with complete_file(path) as stream:
        stream.write(text.getvalue().encode())
