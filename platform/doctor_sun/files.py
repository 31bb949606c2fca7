"""Files that are complete or not there: written beside their place, then renamed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath


@contextmanager
def complete_file(path: UPath) -> Iterator[IO[bytes]]:
    """A file to write; it takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as stream:
        yield stream
    part.rename(path)


def write_parquet(path: UPath, table: pa.Table, row_group_size: int | None = None) -> None:
    """Write a table as one Parquet file.

    Args:
        path: where to; folders are made.
        table: what.
        row_group_size: rows of a row group; None takes Arrow's.
    """
    with complete_file(path) as stream:
        pq.write_table(table, stream, compression="zstd", row_group_size=row_group_size)


def read_parquet(path: UPath, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file as a table, wholly or some columns of it."""
    with path.open("rb") as stream:
        return pq.read_table(stream, columns=columns)
