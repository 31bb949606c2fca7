"""Held-out phantom radiographs: rendered findings of known kind, side and zone, in two languages.

The Parquet file is made by the corpus step. Its track `anatomy` asks about outlines that were never
trained on; `combination` about finding-side-zone cells that were never trained on.
"""

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from doctor_sun.errors import InputError
from doctor_sun.evaluation.tasks.free_answers import MULTIMEDEVAL, SCORING
from doctor_sun.evaluation.tasks.task import Item, Prompts, Task

FILE = "phantom.parquet"
GROUPS = ("language", "kind", "track")
COLUMNS = ("id", "question", "answer", "options", "image", "image_key", "finding", *GROUPS)


def load(location: UPath, prompts: Prompts) -> list[Item]:
    """The items of a phantom file, or of a folder that holds one, in file order.

    Raises:
        InputError: no such file, not Parquet, or a column is missing.
    """
    path = location / FILE if location.is_dir() else location
    if not path.is_file():
        raise InputError(f"benchmark {path} does not exist")
    try:
        with path.open("rb") as stream:
            file = pq.ParquetFile(stream)
            missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
            if missing:
                raise InputError(f"benchmark {path} has no column '{missing[0]}'")
            rows = file.read(columns=list(COLUMNS)).to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"benchmark {path} cannot be read as Parquet") from error
    return [
        Item(
            id=row["id"],
            question=row["question"],
            answer=row["answer"],
            options={
                chr(ord("A") + place): text for place, text in enumerate(row["options"] or ())
            },
            image=row["image"],
            image_key=row["image_key"],
            truth=row["finding"],
            groups={name: row[name] for name in GROUPS},
        )
        for row in rows
    ]


TASKS = (
    Task(
        name="phantom",
        title="Phantom radiographs",
        source="made by jobs/corpus.py",
        split="held-out anatomies, and held-out combinations",
        items="as configured",
        prompt="{question}",
        published_by=MULTIMEDEVAL,
        load=load,
        control_within=("language", "kind"),
        sections="track",
        cuts=(("language",), ("language", "kind")),
        max_tokens=24,
        **SCORING,
    ),
)
