#!/usr/bin/env python
"""Ask a model about every image or row of an archive, once each, and keep the answers as Parquet.

    python jobs/generate.py --config configs/tiny/generate.yaml --output runs/tiny/generate
    python jobs/generate.py --model HF_DIR --data rows.parquet --output DIR
    python jobs/generate.py --model HF_DIR --data IMAGES_DIR --question "What is seen?" --output DIR
    python jobs/generate.py --endpoint.base_url https://host/v1 --endpoint_model NAME \
        --data rows.csv --output DIR

A row has a question and, if it has any, its image: bytes or a path. `DIR/answers/*.parquet` has a
line for every row that was answered, in the archive's order: id, question, answer, finish,
prompt_tokens, completion_tokens, image_sha256, model. `DIR/ledger/*.parquet` has every other row,
with the reason. A killed job goes on with the same command; an archive that has grown asks only
what is new. An endpoint's key stands in the environment variable that `endpoint.key_variable`
names. The answers are text about your patients: they are in DIR, and in no log.
"""

from doctor_sun.config import job
from doctor_sun.generation.job import GenerateConfig, run

if __name__ == "__main__":
    job(run, GenerateConfig, __doc__ or "")
