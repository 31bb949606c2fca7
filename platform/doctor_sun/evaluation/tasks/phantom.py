"""Held-out phantom radiographs: rendered findings of known kind, side and zone, in two languages.

The Parquet file is made by the corpus step. Its track `anatomy` asks about outlines that were never
trained on; `combination` about finding-side-zone cells that were never trained on.
"""

from functools import partial

from doctor_sun.evaluation.tasks.free_answers import MULTIMEDEVAL, SCORING
from doctor_sun.evaluation.tasks.rendered import load
from doctor_sun.evaluation.tasks.task import Task

GROUPS = ("language", "kind", "track")

TASKS = (
    Task(
        name="phantom",
        title="Phantom radiographs",
        source="made by jobs/corpus.py",
        split="held-out anatomies, and held-out combinations",
        items="as configured",
        prompt="{question}",
        published_by=MULTIMEDEVAL,
        load=partial(load, file="phantom.parquet", groups=GROUPS),
        control_within=("language", "kind"),
        sections="track",
        cuts=(("language",), ("language", "kind")),
        max_tokens=24,
        **SCORING,
    ),
)
