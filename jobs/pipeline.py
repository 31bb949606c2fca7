#!/usr/bin/env python
"""Run the whole chain: corpus, bases, curate, four training stages, export, evaluate, serve, ask.

    python jobs/pipeline.py --output runs/tiny

Each step writes `<output>/<step>/` and is reused when nothing it depends on has changed, so an
interrupted run goes on where it stopped. The endpoint stays up with `--keep_serving true`.
"""

from doctor_sun.config import job
from doctor_sun.pipeline import PipelineConfig, run

if __name__ == "__main__":
    job(run, PipelineConfig, __doc__)
