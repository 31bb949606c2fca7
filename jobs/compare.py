#!/usr/bin/env python
"""Compare evaluated models: paired differences, what was forgotten, the paper's tables.

python jobs/compare.py --evaluations.base runs/base --evaluations.tuned runs/tuned --output DIR
"""

from doctor_sun.config import job
from doctor_sun.evaluation.compare import CompareConfig, run

if __name__ == "__main__":
    job(run, CompareConfig, __doc__ or "")
