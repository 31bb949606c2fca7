"""Publishers' record files, cut into pieces that tasks read independently.

A piece is named `FILE@START-END`, or just `FILE` where the file is one piece. START and END are row
groups of a Parquet file and bytes of any other. Lines (.jsonl, .txt) are cut by size without being
read: a line belongs to the piece it begins in. Tables (.csv, .tsv) and JSON arrays have records
that no byte offset tells apart, so they are scanned once, in constant memory, to be cut.
"""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from doctor_sun.data.sources.json_arrays import array_elements
from doctor_sun.data.sources.record import Broken, Record

PIECE_BYTES = 1 << 18  # of lines that name pictures: one to four thousand rows
PIECE_ROWS = 2000
BATCH_ROWS = 64  # of Parquet rows in memory at once: they may hold pictures
PIECE = re.compile(r"@(\d+)-(\d+)$")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SEPARATORS = {".csv": ",", ".tsv": "\t"}


def bounds_of(piece: str) -> tuple[str, int, int | None]:
    """The file that a piece is of, where it starts and (None: at the file's end) where it ends."""
    bounds = PIECE.search(piece)
    return (piece[: bounds.start()], int(bounds[1]), int(bounds[2])) if bounds else (piece, 0, None)


def ranges(edges: Sequence[int], file: str) -> list[str]:
    """The pieces of a file between some edges."""
    if len(edges) <= 2:
        return [file]
    return [f"{file}@{start}-{end}" for start, end in pairwise(edges)]


def pieces(path: UPath, file: str, times: int = 1) -> list[str]:
    """The pieces of a file, in order. One that cannot be read is one piece: its fault is a row.

    Args:
        path: where the file is.
        file: its name in the pieces.
        times: how many times `PIECE_BYTES` a piece of lines has.
    """
    return ranges(_edges(path, times), file)


def records(root: UPath, piece: str, encoding: str = "utf-8") -> Iterator[Record]:
    """The records of a piece in order; for one that cannot be read, what is wrong with it.

    Args:
        root: the folder that the piece's file stands in.
        piece: a name that `pieces` gave.
        encoding: of text and tables; JSON is UTF-8.
    """
    file, start, end = bounds_of(piece)
    path = root / file
    with path.open("rb") as stream:
        if path.suffix == ".parquet":
            found = _parquet_rows(stream, start, end)
        elif path.suffix in SEPARATORS:
            found = _table_rows(stream, start, end, SEPARATORS[path.suffix], encoding)
        elif _is_array(path):
            elements = array_elements(stream, start, end)
            found = ((at, _parsed(element)) for at, element in elements)
        else:
            parse = _decoded if path.suffix == ".txt" else _parsed
            found = ((at, parse(line, encoding)) for at, line in _lines(stream, start, end))
        for at, content in found:
            yield Record(content, file, at)


def _edges(path: UPath, times: int) -> Sequence[int]:
    """Where the pieces begin, and where the last one ends."""
    if path.suffix == ".parquet":
        return _row_group_edges(path)
    size = path.stat().st_size
    with path.open("rb") as stream:
        if path.suffix in SEPARATORS:
            rows = _table_rows(stream, 0, None, SEPARATORS[path.suffix], "latin-1")
            begins = [at for number, (at, _) in enumerate(rows) if number % PIECE_ROWS == 0]
        elif _is_array(path):
            elements = array_elements(stream, 0, None)
            begins = [at for number, (at, _) in enumerate(elements) if number % PIECE_ROWS == 0]
        else:
            begins = list(range(0, size, PIECE_BYTES * times))
    return [*begins, size]


def _is_array(path: UPath) -> bool:
    """Whether a .json file holds an array; many hold lines under that name."""
    if path.suffix != ".json":
        return False
    with path.open("rb") as stream:
        return bool(stream.read(64).removeprefix(BYTE_ORDER_MARK).lstrip()[:1] == b"[")


def _lines(stream: IO[bytes], start: int, end: int | None) -> Iterator[tuple[int, bytes]]:
    """The lines that begin in a range of bytes, blank ones left out."""
    at = start
    if start:
        stream.seek(start - 1)
        at += len(stream.readline()) - 1
    for line in stream:
        if end is not None and at >= end:
            return
        text = (line.removeprefix(BYTE_ORDER_MARK) if at == 0 else line).strip()
        if text:
            yield at, text
        at += len(line)


def _parsed(text: bytes | Broken, _encoding: str = "") -> Any:
    if isinstance(text, Broken):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return Broken("malformed JSON")


def _decoded(line: bytes, encoding: str) -> str | Broken:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return Broken(f"not {encoding.upper()} text")


def _table_rows(
    stream: IO[bytes], start: int, end: int | None, separator: str, encoding: str
) -> Iterator[tuple[int, Any]]:
    """The rows of a table with a head that begin in a range of bytes, as dicts."""
    rows = _cells(stream, 0, separator, encoding)
    _, head, body = next(rows, (0, [], 0))
    if isinstance(head, Broken):
        yield 0, Broken("the table's head cannot be read")
        return
    head = [name.strip().removeprefix("\ufeff") for name in head]
    for at, cells, _ in _cells(stream, start or body, separator, encoding):
        if end is not None and at >= end:
            return
        if isinstance(cells, Broken):
            yield at, cells
        elif len(cells) != len(head):
            yield at, Broken(f"{len(cells)} fields for {len(head)}")
        else:
            yield at, dict(zip(head, cells, strict=True))


def _cells(
    stream: IO[bytes], start: int, separator: str, encoding: str
) -> Iterator[tuple[int, list[str] | Broken, int]]:
    """Each row's first byte, its cells, and the byte after it."""
    position = start
    stream.seek(start)

    def lines() -> Iterator[str]:
        nonlocal position
        for line in stream:
            position += len(line)
            yield line.decode(encoding, errors="surrogateescape")

    reader = csv.reader(lines(), delimiter=separator)
    while True:
        begin = position
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:  # the reader goes on with the next line
            yield begin, Broken("malformed table row"), position
            continue
        if cells:
            fine = _is_text(cells)
            yield begin, cells if fine else Broken(f"not {encoding.upper()} text"), position


def _is_text(cells: list[str]) -> bool:
    """Whether all bytes could be decoded: those that could not are surrogates now."""
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return False
    return True


def _row_group_edges(path: UPath) -> list[int]:
    """Edges between runs of row groups of at most `PIECE_ROWS` rows (one, where it is larger)."""
    with path.open("rb") as stream:
        try:
            metadata = pq.ParquetFile(stream).metadata
        except (pa.ArrowInvalid, OSError):
            return []
    edges, rows = [0], 0
    for group in range(metadata.num_row_groups):
        count = metadata.row_group(group).num_rows
        if rows and rows + count > PIECE_ROWS:
            edges.append(group)
            rows = 0
        rows += count
    return [*edges, metadata.num_row_groups]


def _parquet_rows(stream: IO[bytes], start: int, end: int | None) -> Iterator[tuple[int, Any]]:
    try:
        parquet = pq.ParquetFile(stream)
    except (pa.ArrowInvalid, OSError):
        yield 0, Broken("not a Parquet file")
        return
    groups = range(start, parquet.num_row_groups if end is None else end)
    at = sum(parquet.metadata.row_group(group).num_rows for group in range(start))
    try:
        for batch in parquet.iter_batches(BATCH_ROWS, row_groups=list(groups)):
            for row in batch.to_pylist():
                yield at, row
                at += 1
    except (pa.ArrowInvalid, OSError):
        yield at, Broken("the Parquet file cannot be read from here on")
