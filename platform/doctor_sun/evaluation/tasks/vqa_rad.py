"""VQA-RAD: questions on radiology pictures, Table 3 of the paper."""

from doctor_sun.data.benchmarks.vqa_rad import BENCHMARK
from doctor_sun.evaluation.tasks.free_answers import free_answers

TASKS = (
    free_answers(
        BENCHMARK,
        title="VQA-RAD",
        items="451 (251 closed, 200 open)",
        cuts=(("question_type",), ("image_organ",)),
    ),
)
