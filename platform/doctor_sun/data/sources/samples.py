"""Samples as this platform writes them: Parquet and JSON lines files by `records.SCHEMA`."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Broken, Record
from doctor_sun.data.sources.source import Card, Sample
from doctor_sun.data.sources.text_files import AnyFiles
from doctor_sun.records import SCHEMA


@dataclass(frozen=True, kw_only=True)
class Samples(AnyFiles):
    """Rows as they are: they carry their own source, split, domain, language and task."""

    card = Card(
        kind="samples",
        title="Samples of this platform",
        domain="medical",
        languages=("en", "zh"),
        task="instruction",
        layout=".parquet or .jsonl files with the columns of records.SCHEMA",
        where="jobs/corpus.py, jobs/curate.py",
        licence="of the sets they came from",
    )
    suffixes: ClassVar = (".parquet", ".jsonl")
    unique_keys: ClassVar = False

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`; ingestion checks the values."""
        fields = record.fields
        missing = [name for name in SCHEMA.names if name not in fields]
        if missing:
            raise Broken(f"no column '{missing[0]}'")
        yield {name: fields[name] for name in SCHEMA.names}


SOURCES = (Samples,)
