#!/usr/bin/env python
"""Ask a model a benchmark's questions and score the answers, or score a file of answers.

python jobs/evaluate.py --config configs/tiny/evaluate.yaml --output runs/tiny/evaluate
python jobs/evaluate.py --score-only FILE.jsonl --task slake --scoring published --output DIR
"""

from doctor_sun.config import job
from doctor_sun.evaluation.evaluate import EvaluateConfig, run

if __name__ == "__main__":
    job(run, EvaluateConfig, __doc__ or "")
