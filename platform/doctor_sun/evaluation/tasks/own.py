"""Free answers of any other set: scored when they are given (`--score-only`), never asked.

The questions of one's own set are read as the phantom's are: a Parquet file of its columns.
"""

from collections.abc import Iterator

from upath import UPath

from doctor_sun.errors import InputError
from doctor_sun.evaluation.tasks.free_answers import MULTIMEDEVAL, SCORING
from doctor_sun.evaluation.tasks.task import Item, Prompts, Task


def load(folder: UPath, prompts: Prompts) -> Iterator[Item]:
    """There is nothing to read."""
    raise InputError("task 'vqa' can only be scored: give --score-only FILE")


TASKS = (
    Task(
        name="vqa",
        title="VQA",
        source="a file of predictions",
        split="any",
        items="any",
        prompt="none",
        published_by=MULTIMEDEVAL,
        load=load,
        **SCORING,
    ),
)
