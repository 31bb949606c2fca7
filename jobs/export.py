#!/usr/bin/env python
"""Write a trained model as a Hugging Face LLaVA folder that transformers and vLLM load unchanged.

python jobs/export.py --checkpoint runs/tiny/instruct --output runs/tiny/export
"""

from doctor_sun.config import job
from doctor_sun.training.publish import ExportConfig, run

if __name__ == "__main__":
    job(run, ExportConfig, __doc__)
