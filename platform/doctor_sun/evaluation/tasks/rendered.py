"""Questions about pictures that the corpus step rendered: how their Parquet files are read."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from doctor_sun.errors import InputError
from doctor_sun.evaluation.tasks.task import Item, Prompts

COLUMNS = ("id", "question", "answer", "options", "image", "image_key", "finding")


def load(location: UPath, prompts: Prompts, *, file: str, groups: Sequence[str]) -> list[Item]:
    """The items of a Parquet file, or of a folder that holds it, in file order.

    Args:
        location: the file or the folder.
        prompts: either kind is the question alone.
        file: its name in a folder.
        groups: its columns that results are broken down by.

    Raises:
        InputError: no such file, not Parquet, or a column is missing.
    """
    path = location / file if location.is_dir() else location
    if not path.is_file():
        raise InputError(f"benchmark {path} does not exist")
    columns = [*COLUMNS, *groups]
    try:
        with path.open("rb") as stream:
            parquet = pq.ParquetFile(stream)
            missing = [name for name in columns if name not in parquet.schema_arrow.names]
            if missing:
                raise InputError(f"benchmark {path} has no column '{missing[0]}'")
            rows = parquet.read(columns=columns).to_pylist()
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
            groups={name: row[name] for name in groups},
        )
        for row in rows
    ]
