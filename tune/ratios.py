#!/usr/bin/env python
"""The search for the ratio of medical to general data.

    python tune/ratios.py run --config configs/tiny/ratios/search.yaml --output runs/ratios
    python tune/ratios.py report --results runs.csv --output runs/ratios-report
    python tune/ratios.py report --results paper --output runs/ratios-paper

`run` trains and scores mixtures as a Ray Tune experiment (`--estimate` says first what it takes),
then reports; the same command goes on after an interruption. `report` writes what a table of
finished runs says: response surface, probability that each mixture is best, the next trial, Pareto
front, what was forgotten, as a page, pictures and tables.
"""

import sys
from collections.abc import Callable
from typing import Any

from doctor_sun.config import job
from doctor_sun.errors import InputError, one_line_errors
from doctor_sun.ratios import report, search

COMMANDS: dict[str, tuple[Callable[[Any], Any], type[Any]]] = {
    "run": (search.run, search.SearchConfig),
    "report": (report.run, report.ReportConfig),
}

if __name__ == "__main__":
    with one_line_errors():
        if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
            raise InputError(f"give a command: {', '.join(COMMANDS)}; COMMAND --help explains it")
    command, config = COMMANDS[sys.argv.pop(1)]
    job(command, config, __doc__ or "")
