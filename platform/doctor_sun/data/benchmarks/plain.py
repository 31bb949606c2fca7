"""A held-out set of one's own: a Parquet or JSON lines file with a column for each field.

Columns id, language (en, zh), question, answer, and where there are any options (list of texts) and
image (encoded bytes; Parquet only). The tiny preset's `phantom.parquet` is such a file.
"""

from collections.abc import Iterator

from upath import UPath

from doctor_sun.data.benchmarks.files import Record, find, json_records, parquet_records
from doctor_sun.data.benchmarks.item import BenchmarkItem
from doctor_sun.errors import InputError


def load(path: UPath) -> Iterator[BenchmarkItem]:
    """The items of a file, or of all such files of a folder.

    Raises:
        InputError: no file, a missing column, or a language other than en and zh.
    """
    if not path.exists():
        raise InputError(f"held-out set {path} does not exist")
    for file in find(path, "*.parquet", "*.jsonl") if path.is_dir() else [path]:
        reader = parquet_records if file.suffix == ".parquet" else json_records
        yield from map(_item, reader(file))


def _item(record: Record) -> BenchmarkItem:
    language = record.text("language")
    if language not in ("en", "zh"):
        raise InputError(f"{record.place}: language is neither en nor zh")
    options = record.fields.get("options") or ()
    image = record.fields.get("image")
    return BenchmarkItem(
        id=record.text("id"),
        language="zh" if language == "zh" else "en",
        question=record.text("question"),
        answer=record.text("answer"),
        options=tuple(str(option) for option in options),
        image_name=record.text("id") if image else "",
        image=image,
    )
