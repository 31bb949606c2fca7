"""PathVQA: 6,719 test questions on pathology pictures from textbooks and PEIR.

Hugging Face (flaviagiammarino/path-vqa, He et al. 2020): data/test-*.parquet with image
{bytes, path}, question, answer. The authors' own archive keeps the questions as Python pickles,
which are never opened here.
"""

from doctor_sun.data.benchmarks.files import picture_questions
from doctor_sun.data.benchmarks.item import Benchmark

BENCHMARK = Benchmark(
    name="path-vqa",
    version="2020 release, test",
    layout="data/test-*.parquet: image, question, answer",
    source="hf.co/datasets/flaviagiammarino/path-vqa",
    load=picture_questions,
)
