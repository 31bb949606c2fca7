"""Coloured shapes: what a model can do beside medicine, in two languages.

The Parquet file is made by the corpus step; its pictures were never trained on, scenes like them
were.
"""

from functools import partial

from doctor_sun.evaluation.tasks.free_answers import MULTIMEDEVAL, SCORING
from doctor_sun.evaluation.tasks.rendered import load
from doctor_sun.evaluation.tasks.task import Task

GROUPS = ("language", "kind")

TASKS = (
    Task(
        name="shapes",
        title="Coloured shapes",
        source="made by jobs/corpus.py",
        split="held-out pictures",
        items="as configured",
        prompt="{question}",
        published_by=MULTIMEDEVAL,
        load=partial(load, file="shapes.parquet", groups=GROUPS),
        control_within=GROUPS,
        cuts=(("language",), GROUPS),
        max_tokens=24,
        **SCORING,
    ),
)
