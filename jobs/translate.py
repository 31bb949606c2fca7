#!/usr/bin/env python
"""Translate curated English samples into Chinese: checks, judge, review; nothing is paid twice.

    python jobs/translate.py --config configs/paper/translate.yaml --data runs/paper/curate \
        --output runs/paper/translate

The key stands in the environment variable that `endpoint.key_variable` names. A killed run goes on
with the same command. `python -m doctor_sun.data.review runs/paper/translate` shows what is held
for review; the next run applies what was decided.
"""

from doctor_sun.config import job
from doctor_sun.data.translation.job import TranslateConfig, run

if __name__ == "__main__":
    job(run, TranslateConfig, __doc__ or "")
