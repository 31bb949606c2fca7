"""The realised mixture: rows and tokens that each run read from each source, beside what was asked.

A CSV file with the columns `run`, `stage`, `source`, `samples`, `tokens`; a row a source.
"""

import csv
import io

from upath import UPath

from doctor_sun.errors import InputError
from doctor_sun.reports.html import Table

COLUMNS = ("run", "stage", "source", "samples", "tokens")


def read_ledger(file: str) -> Table:
    """The ledger with each source's share of its run's stage.

    Raises:
        InputError: the file is missing or a row is not of the ledger's form.
    """
    path = UPath(file)
    if not path.is_file():
        raise InputError(f"ledger {file} does not exist")
    lines = []
    for number, row in enumerate(csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))), 2):
        try:
            run, stage, source = (row[name].strip() for name in COLUMNS[:3])
            samples, tokens = int(row["samples"]), int(row["tokens"])
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"{file}, line {number}: not {', '.join(COLUMNS)}") from None
        if min(samples, tokens) < 0:
            raise InputError(f"{file}, line {number}: a count below zero")
        lines.append((run, stage, source, samples, tokens))
    totals: dict[tuple[str, str], list[int]] = {}
    for run, stage, _, samples, tokens in lines:
        total = totals.setdefault((run, stage), [0, 0])
        total[0] += samples
        total[1] += tokens
    rows = [
        [
            *(run, stage, source, f"{samples:,}", f"{tokens:,}"),
            *(
                f"{100 * part / max(1, whole):.2f}"
                for part, whole in zip((samples, tokens), totals[run, stage], strict=True)
            ),
        ]
        for run, stage, source, samples, tokens in lines
    ]
    return Table(head=[*COLUMNS, "% of samples", "% of tokens"], rows=rows)
