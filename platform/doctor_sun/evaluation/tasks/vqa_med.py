"""VQA-Med (ImageCLEF): questions on radiology pictures, beyond the paper's tables."""

from doctor_sun.data.benchmarks.vqa_med import BENCHMARK
from doctor_sun.evaluation.tasks.free_answers import MULTIMEDEVAL, free_answers

TASKS = (
    free_answers(
        BENCHMARK,
        title="VQA-Med",
        items="500 a year",
        cuts=(("category",),),
        published_by=f"the definitions of {MULTIMEDEVAL}, not ImageCLEF's own",
    ),
)
