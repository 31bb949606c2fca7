#!/usr/bin/env python
"""Fine-tune the language model: stage `medical` (medical text), then `hybrid` (80% general).

    python jobs/finetune.py --config configs/tiny/medical.yaml --output runs/tiny/medical
    python jobs/finetune.py --config configs/tiny/hybrid.yaml --output runs/tiny/hybrid

An interrupted call resumes from its last checkpoint; an identical call is a no-op that says so.
"""

from doctor_sun.config import job
from doctor_sun.training.stage import StageConfig, run_stages

if __name__ == "__main__":
    job(run_stages(("medical", "hybrid")), StageConfig, __doc__)
