#!/usr/bin/env python
"""Align the vision encoder with the language model: only the projector trains (equation 1).

    python jobs/align.py --config configs/tiny/align.yaml --output runs/tiny/align

An interrupted call resumes from its last checkpoint; an identical call is a no-op that says so.
"""

from doctor_sun.config import job
from doctor_sun.training.stage import StageConfig, run_stages

if __name__ == "__main__":
    job(run_stages(("align",)), StageConfig, __doc__)
