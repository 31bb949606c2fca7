"""PathVQA: questions on pathology pictures, Table 3 of the paper."""

from doctor_sun.data.benchmarks.path_vqa import BENCHMARK
from doctor_sun.evaluation.tasks.free_answers import free_answers

TASKS = (free_answers(BENCHMARK, title="Path-VQA", items="6,719"),)
