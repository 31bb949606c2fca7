#!/usr/bin/env python
"""Make the tiny preset's starting points: a tokenizer, a small Llama and a small CLIP.

    python jobs/bases.py --config configs/tiny/bases.yaml --output runs/tiny/bases

Any real language-model folder or open_clip weights take their place by configuration.
"""

from doctor_sun.config import job
from doctor_sun.training.bases import BasesConfig, run

if __name__ == "__main__":
    job(run, BasesConfig, __doc__)
