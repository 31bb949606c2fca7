#!/usr/bin/env python
"""Curate raw data sets: duplicates, characters, privacy, perplexity, selection; ledger and report.

python jobs/curate.py --config configs/tiny/curate.yaml --output runs/tiny/curate
"""

from doctor_sun.config import job
from doctor_sun.data.curation import CurateConfig, run

if __name__ == "__main__":
    job(run, CurateConfig, __doc__ or "")
