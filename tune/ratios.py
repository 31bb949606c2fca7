#!/usr/bin/env python
"""The search for the ratio of medical to general data.

    python tune/ratios.py report --results runs.csv --output runs/ratios
    python tune/ratios.py report --results paper --output runs/ratios-paper

`report` writes what a table of finished runs says: response surface, probability that each mixture
is best, the next trial, Pareto front, what was forgotten, as a page, pictures and tables.
"""

import sys

from doctor_sun.config import job
from doctor_sun.errors import InputError, one_line_errors
from doctor_sun.ratios.report import ReportConfig, run

COMMANDS = {"report": (run, ReportConfig)}

if __name__ == "__main__":
    with one_line_errors():
        if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
            raise InputError(f"give a command: {', '.join(COMMANDS)}; COMMAND --help explains it")
    command, config = COMMANDS[sys.argv.pop(1)]
    job(command, config, __doc__ or "")
