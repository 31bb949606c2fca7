"""Tables of an archive: their columns, and their records piece by piece.

A piece is named as in `doctor_sun.data.sources.pieces`, which reads lines, CSV and TSV. Parquet is
cut by rows here: most programs write one row group for a million rows.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from doctor_sun.data.sources.pieces import (
    BATCH_ROWS,
    PIECE_ROWS,
    SEPARATORS,
    bounds_of,
    pieces,
    ranges,
    records,
)
from doctor_sun.data.sources.record import Record
from doctor_sun.errors import InputError

PARQUET = ".parquet"
TABLES = (PARQUET, ".csv", ".tsv", ".jsonl")


@dataclass(kw_only=True)
class ColumnsConfig:
    """What the tables call the parts of a row. All but the question may be missing."""

    id: str = "id"
    """The row's name, text or number; without one it is a hash of what is asked."""

    question: str = "question"
    """What the model is asked."""

    system: str = "system"
    """Instruction before the question, in place of the job's `system`."""

    image: str = "image"
    """Image: its bytes, its path, or both as {"bytes", "path"}; empty asks without one."""

    images: str = "images"
    """Several images: a list of such."""


DEFAULTS = ColumnsConfig()


def check_columns(table: UPath, columns: ColumnsConfig, encoding: str, asked: bool) -> None:
    """Refuse a table without a column that it needs; lines of JSON may have one each.

    Args:
        table: the file.
        columns: what it calls the parts of a row.
        encoding: of CSV and TSV files.
        asked: whether a question is asked of every row.

    Raises:
        InputError: it lacks a column, or is no Parquet file.
    """
    names = column_names(table, encoding)
    if names is None:
        return
    for key, name in asdict(columns).items():
        needed = name != getattr(DEFAULTS, key) or (key == "question" and not asked)
        if needed and name not in names:
            hint = ", or --question asks the same of every row" if key == "question" else ""
            raise InputError(f"{table} has no column '{name}' (columns.{key} names it{hint})")
    if asked and not {columns.image, columns.images} & set(names):
        raise InputError(f"{table} has no column '{columns.image}' (columns.image names it)")


def column_names(table: UPath, encoding: str) -> Sequence[str] | None:
    """The columns of a table; None where every row has its own, or there are no rows.

    Raises:
        InputError: it is no Parquet file.
    """
    if table.suffix == PARQUET:
        return list(_metadata(table).schema.to_arrow_schema().names)
    if table.suffix in SEPARATORS:
        first = next(records(table.parent, table.name, encoding), None)
        return list(first.content) if first and isinstance(first.content, dict) else None
    return None


def cut(table: UPath, name: str) -> list[str]:
    """The pieces of a table, in order.

    Raises:
        InputError: it is no Parquet file.
    """
    if table.suffix != PARQUET:
        return pieces(table, name)
    rows = _metadata(table).num_rows
    return ranges([*range(0, rows, PIECE_ROWS), rows], name)


def _metadata(table: UPath) -> pq.FileMetaData:
    try:
        with table.open("rb") as stream:
            return pq.read_metadata(stream)
    except (pa.ArrowInvalid, OSError):
        raise InputError(f"{table} cannot be read as Parquet") from None


def numbered_records(
    root: UPath,
    piece: str,
    columns: ColumnsConfig,
    encoding: str,
    wanted: Container[int] | None = None,
) -> Iterator[tuple[int, Record]]:
    """The records of a piece, with their numbers in it.

    Args:
        root: the folder that the table stands in.
        piece: a name that `cut` gave.
        columns: what is read of Parquet.
        encoding: of CSV and TSV files.
        wanted: numbers of the records; None reads all.

    Raises:
        InputError: a Parquet file breaks off.
    """
    if bounds_of(piece)[0].endswith(PARQUET):
        found = _parquet_records(root, piece, columns, wanted)
    else:
        found = enumerate(records(root, piece, encoding))
    for number, record in found:
        if wanted is None or number in wanted:
            yield number, record


def _parquet_records(
    root: UPath, piece: str, columns: ColumnsConfig, wanted: Container[int] | None
) -> Iterator[tuple[int, Record]]:
    """The records of all batches that hold one that is wanted."""
    file, start, end = bounds_of(piece)
    at = start
    try:
        with (root / file).open("rb") as stream:
            parquet = pq.ParquetFile(stream)
            end = parquet.metadata.num_rows if end is None else end
            groups, at = _groups(parquet.metadata, start, end)
            held = [name for name in asdict(columns).values() if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(BATCH_ROWS, row_groups=groups, columns=held):
                rows = range(max(at, start), min(at + batch.num_rows, end))
                if wanted is None or any(row - start in wanted for row in rows):
                    own = batch.slice(rows.start - at, len(rows)).to_pylist()
                    for row, fields in zip(rows, own, strict=True):
                        yield row - start, Record(fields, file, row)
                at += batch.num_rows
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError):
        raise InputError(f"{root / file} cannot be read after row {at}") from None


def _groups(metadata: pq.FileMetaData, start: int, end: int) -> tuple[list[int], int]:
    """The row groups that hold some rows, and the first row of the first."""
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    begins = list(accumulate(sizes, initial=0))
    groups = [g for g in range(len(sizes)) if begins[g] < end and begins[g + 1] > start]
    return groups, begins[groups[0]] if groups else 0
