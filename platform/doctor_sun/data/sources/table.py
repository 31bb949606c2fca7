"""Any table or lines with a map of columns: question and answer, with or without a picture.

CSV (with a head), TSV, Parquet, JSON arrays and lines. The map's keys are what is wanted, its
values the file's columns: `question`, `answer`, and where there are such `system`, `image` (a
picture's path in the folder, or Hugging Face's {"bytes", "path"}) and `key`. A column of the same
name is taken without being mapped. Where a row has a picture and no question, the picture's caption
is asked for. Example: Chinese-medical-dialogue-data (github.com/Toyhom) ships CSV in GB18030 with
department, title, ask, answer: columns {question: ask}, encoding gb18030.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from upath import UPath

from doctor_sun.config import unknown_key
from doctor_sun.data.sources import pieces
from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Record
from doctor_sun.data.sources.source import Card, Sample
from doctor_sun.data.sources.text_files import TextFiles
from doctor_sun.data.sources.turns import caption, exchange, language_of
from doctor_sun.data.sources.vqa_rad import embedded_picture
from doctor_sun.errors import InputError

WANTED = ("question", "answer", "system", "image", "key")


@dataclass(frozen=True, kw_only=True)
class Table(TextFiles):
    """One question and answer a row."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """The file's column for `question`, `answer`, `system`, `image`, `key`."""

    encoding: str = "utf-8"
    """Of CSV and TSV files."""

    card = Card(
        kind="table",
        title="Questions and answers in a table",
        domain="medical",
        languages=("en", "zh"),
        task="instruction",
        layout=".csv, .tsv, .parquet, .json or .jsonl with columns that `columns` maps",
        where="any publisher (Chinese-medical-dialogue-data, medical question banks, ...)",
        licence="of the set",
    )
    suffixes: ClassVar = (".csv", ".tsv", ".parquet", ".json", ".jsonl")

    def __post_init__(self) -> None:
        """Refuse a map of what is not wanted, and an unknown encoding."""
        for wanted in self.columns:
            if wanted not in WANTED:
                raise InputError(unknown_key(wanted, WANTED, "columns"))
        try:
            "".encode(self.encoding)
        except LookupError:
            raise InputError(f"encoding {self.encoding} is unknown") from None

    def records(self, root: UPath, shard: str) -> Iterator[Record]:
        """See `RecordSource.records`."""
        return pieces.records(root, shard, self.encoding)

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        asked, answer = self.column("question"), record.text(self.column("answer"))
        key = self.key_of(record)
        images, review = self.shown(record, key, pictures)
        is_caption = bool(images) and asked not in record.fields
        if is_caption:
            turns = caption(answer, key, self.language or language_of(answer))
        else:
            system = record.text(self.column("system"), "")
            turns = exchange(record.text(asked), answer, len(images), system)
        sample = self.conversation(record, turns, images, key)
        if is_caption:
            sample["task"] = "caption"
        yield sample | ({"review": review} if review else {})

    def column(self, wanted: str) -> str:
        """The file's name for a column."""
        return self.columns.get(wanted, wanted)

    def key_of(self, record: Record) -> str:
        """The row's key: its own, or where it stands."""
        return record.text(self.column("key"), record.place)

    def shown(self, record: Record, key: str, pictures: Pictures) -> tuple[list[bytes], str]:
        """The row's picture, where it has one, and why a person should look at it, if so."""
        held = record.fields.get(self.column("image"))
        if not held:
            return [], ""
        if isinstance(held, str):
            return [pictures.read(held, key)], ""
        return [embedded_picture(record, key, self.column("image"))], ""


SOURCES = (Table,)
