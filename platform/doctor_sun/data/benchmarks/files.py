"""Publishers' files: JSON, JSON lines, CSV, TSV, Parquet, and pictures in folders or zips."""

import json
import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from upath import UPath

from doctor_sun.data.benchmarks.item import BenchmarkItem
from doctor_sun.errors import InputError

CSV_BLOCK = 64 << 20  # a record must fit: MMBench keeps pictures in its fields
PICTURE_ROWS = 64


class Record:
    """A record of a file that knows where it stands: a missing field is one clear error."""

    def __init__(self, fields: Any, place: str) -> None:
        """Wrap a JSON object or a table's row; `place` names file and record."""
        if not isinstance(fields, dict):
            raise InputError(f"{place} is not an object with fields")
        self.fields: dict[str, Any] = fields
        self.place = place

    def __getitem__(self, name: str) -> Any:
        if name not in self.fields:
            raise InputError(f"{self.place} has no field '{name}'")
        return self.fields[name]

    def text(self, name: str, default: str | None = None) -> str:
        """A field as stripped text, "" for null; the default where there is no such field."""
        value = self[name] if default is None else self.fields.get(name, default)
        return "" if value is None else str(value).strip()


def find(folder: UPath, *patterns: str) -> list[UPath]:
    """The files of the first pattern that matches any, in order of their names.

    Raises:
        InputError: none matches.
    """
    for pattern in patterns:
        found = sorted(folder.glob(pattern), key=str)
        if found:
            return found
    raise InputError(f"benchmark folder {folder} holds no {' and no '.join(patterns)}")


def optional(folder: UPath, *patterns: str) -> list[UPath]:
    """As `find`; empty when nothing matches."""
    try:
        return find(folder, *patterns)
    except InputError:
        return []


def read_json(path: UPath) -> Any:
    """A whole JSON file.

    Raises:
        InputError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON") from error


def json_records(path: UPath) -> Iterator[Record]:
    """The objects of a JSON array, or of JSON lines (`.jsonl`)."""
    if path.suffix == ".jsonl":
        lines = enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1)
        for number, line in lines:
            if line.strip():
                place = f"{path}, line {number}"
                try:
                    yield Record(json.loads(line), place)
                except json.JSONDecodeError as error:
                    raise InputError(f"{place} is not JSON") from error
        return
    whole = read_json(path)
    if not isinstance(whole, list):
        raise InputError(f"{path} is not a JSON array")
    for number, fields in enumerate(whole, 1):
        yield Record(fields, f"{path}, record {number}")


def csv_records(path: UPath, delimiter: str = ",") -> Iterator[Record]:
    """The rows of a CSV or TSV file, every field a text, missing ones empty.

    Raises:
        InputError: it is not such a file.
    """
    try:
        with path.open("rb") as stream:
            names = pa_csv.read_csv(
                pa.BufferReader(stream.readline()), parse_options=_parsing(delimiter)
            ).column_names
        with path.open("rb") as stream:
            table = pa_csv.read_csv(
                stream,
                read_options=pa_csv.ReadOptions(block_size=CSV_BLOCK),
                parse_options=_parsing(delimiter),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string())
                ),
            )
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} cannot be read as a table") from error
    for number, fields in enumerate(table.to_pylist(), 1):
        yield Record(fields, f"{path}, record {number}")


def _parsing(delimiter: str) -> pa_csv.ParseOptions:
    return pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)


def parquet_records(path: UPath) -> Iterator[Record]:
    """The rows of a Parquet file, a few at a time: they may hold pictures.

    Raises:
        InputError: it is not Parquet.
    """
    number = 0
    try:
        with path.open("rb") as stream:
            for batch in pq.ParquetFile(stream).iter_batches(batch_size=PICTURE_ROWS):
                for fields in batch.to_pylist():
                    number += 1
                    yield Record(fields, f"{path}, row {number}")
    except pa.ArrowInvalid as error:
        raise InputError(f"{path} cannot be read as Parquet") from error


def picture_questions(folder: UPath) -> Iterator[BenchmarkItem]:
    """English test questions of `[data/]test-*.parquet`: image {bytes, path}, question, answer."""
    for file in find(folder, "test-*.parquet", "data/test-*.parquet"):
        for number, record in enumerate(parquet_records(file)):
            yield BenchmarkItem(
                id=f"{file.stem}/{number}",
                language="en",
                question=record.text("question"),
                answer=record.text("answer"),
                image_name=record["image"].get("path") or str(number),
                image=record["image"]["bytes"],
            )


class Pictures:
    """Pictures by name, below folders or inside zips, wherever a publisher's release has them."""

    def __init__(self, folder: UPath, *patterns: str) -> None:
        """Look for folders and zip files that match any of the patterns."""
        places = [place for pattern in patterns for place in optional(folder, pattern)]
        self.zips = [_Zip(place) for place in places if place.suffix == ".zip"]
        self.folders = [place for place in places if place.suffix != ".zip" and place.is_dir()]

    def read(self, name: str) -> bytes | None:
        """A picture's bytes, None where no place has it."""
        for folder in self.folders:
            path = folder / name
            if path.is_file():
                return bytes(path.read_bytes())
        return next((data for held in self.zips if (data := held.read(name)) is not None), None)


class _Zip:
    """A zip file; members are found by the end of their path."""

    def __init__(self, path: UPath) -> None:
        try:
            self.archive = zipfile.ZipFile(path.open("rb"))
        except zipfile.BadZipFile as error:
            raise InputError(f"{path} is not a zip file") from error
        self.members: dict[str, str] = {}
        for member in self.archive.namelist():
            parent, name = posixpath.split(member)
            for tail in (name, posixpath.join(posixpath.basename(parent), name)):
                self.members.setdefault(tail, member)

    def read(self, name: str) -> bytes | None:
        member = self.members.get(name)
        return None if member is None else self.archive.read(member)
