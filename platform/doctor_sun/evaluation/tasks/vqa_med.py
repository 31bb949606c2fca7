"""VQA-Med (ImageCLEF): questions on radiology pictures, a task a year."""

from doctor_sun.data.benchmarks.vqa_med import BENCHMARK, YEARS
from doctor_sun.evaluation.tasks.free_answers import MULTIMEDEVAL, free_answers

TASKS = tuple(
    free_answers(
        BENCHMARK,
        name=f"vqa-med-{year}",
        title=f"VQA-Med {year}",
        items="500",
        cuts=(("category",),),
        only={"year": year},
        published_by=f"the definitions of {MULTIMEDEVAL}, not ImageCLEF's own",
    )
    for year in YEARS
)
