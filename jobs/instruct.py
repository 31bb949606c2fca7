#!/usr/bin/env python
"""Instruction-tune the whole model: LoRA on CLIP, projector and full language model (equation 2).

    python jobs/instruct.py --config configs/tiny/instruct.yaml --output runs/tiny/instruct

An interrupted call resumes from its last checkpoint; an identical call is a no-op that says so.
"""

from doctor_sun.config import job
from doctor_sun.training.stage import StageConfig, run_stages

if __name__ == "__main__":
    job(run_stages(("instruct",)), StageConfig, __doc__)
