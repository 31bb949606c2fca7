"""Files on disks and in object stores; what must be complete is written beside its place, then
renamed.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.config import conf
from upath import UPath

# Other processes write into the same folders: a listing that is kept would not show it.
for _protocol in ("s3", "s3a", "gs", "gcs", "abfs", "az"):
    conf.setdefault(_protocol, {}).setdefault("use_listings_cache", False)


@contextmanager
def complete_file(path: UPath) -> Iterator[IO[bytes]]:
    """A file to write; it takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as stream:
        yield stream
    part.rename(path)


def in_object_store(location: str | UPath) -> bool:
    """Whether a location is on no disk."""
    return UPath(location).protocol not in ("", "file", "local")


def read_text(path: UPath) -> str:
    """A text file as it is now; opened in an object store, it must not be replaced meanwhile."""
    return path.fs.cat_file(path.path).decode("utf-8")


def append_lines(path: UPath, lines: Iterable[str]) -> None:
    """Add lines to a text file; object stores do not append, the file is written anew there."""
    text = "".join(f"{line}\n" for line in lines)
    if in_object_store(path):
        before = read_text(path) if path.exists() else ""
        path.write_text(before + text, encoding="utf-8")
        return
    with path.open("a", encoding="utf-8") as stream:
        stream.write(text)


def append_whole(file: IO[bytes], line: bytes) -> None:
    """Add a line to an unbuffered local file that is at its end.

    Raises:
        OSError: there is no room for it; nothing of it stays.
    """
    written = file.write(line)
    if written < len(line):  # a full disk takes a part, and says so at the next one
        file.truncate(file.tell() - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), file.name)


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
