#!/usr/bin/env python
"""Make the tiny preset's corpus: raw data sets, captioned pictures, plain text, a benchmark.

python jobs/corpus.py --config configs/tiny/corpus.yaml --output runs/tiny/corpus
"""

from doctor_sun.config import job
from doctor_sun.data.tiny.corpus import CorpusConfig, run

if __name__ == "__main__":
    job(run, CorpusConfig, __doc__ or "")
