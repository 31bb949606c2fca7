"""SLAKE: questions on radiology pictures; Table 3 of the paper has the English ones."""

from doctor_sun.data.benchmarks.slake import BENCHMARK
from doctor_sun.evaluation.tasks.free_answers import MULTIMEDEVAL, free_answers

CUTS = (("modality",), ("location",), ("content_type",))
TASKS = (
    free_answers(BENCHMARK, title="SLAKE", items="1,061 (355 closed, 706 open)", cuts=CUTS),
    free_answers(
        BENCHMARK,
        name="slake-zh",
        title="SLAKE (zh)",
        items="1,033",
        language="zh",
        cuts=CUTS,
        published_by=f"{MULTIMEDEVAL}, whose own SLAKE is English only",
    ),
)
