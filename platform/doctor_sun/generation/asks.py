"""Rows -> requests: first the keys of all, then the bodies of those that have no answer yet.

No row's pictures leave the task that reads them but in a request. The driver holds 32 bytes a row.
"""

import json
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from upath import UPath

from doctor_sun.asking.answers import KEY_TYPE, Keys, answer_key
from doctor_sun.asking.asker import ASKS, SAY_EVERY
from doctor_sun.asking.requests import Request, image_part
from doctor_sun.data.rows import tables
from doctor_sun.data.translation.asking import Work, in_tasks
from doctor_sun.files import read_parquet, write_parquet
from doctor_sun.generation.rows import Reader, Row
from doctor_sun.records import sha256

SURVEYED = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "file", "fault", "question", "image_sha256")),
        *(("at", pa.int64()), ("key", pa.string())),
    ]
)
"""What is kept of a row; an empty key asks nothing."""
SURVEY = "survey"  # folder of a job's surveyed rows
READER_CPUS = 0.8  # not what an asking actor takes: Ray Data would read and decode in that actor
GROUP = 16  # requests with their pictures that a task hands on at a time


@dataclass(kw_only=True)
class DecodingConfig:
    """How answers are decoded."""

    max_tokens: int = 256
    """Longest answer, in tokens; one that is cut there is kept, with the finish `length`."""

    temperature: float = 0.0
    """0 decodes greedily: the same question has the same answer."""

    seed: int = 0
    """Of the sampling where the temperature is above 0, for an endpoint; engines take 0."""

    batch: int = 64
    """Questions that an engine is given at a time and whose answers are stored together. Their
    decoded pictures are in its memory together, too."""

    replicas: int = 1
    """Engines that answer side by side."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What turns a row into a request."""

    model: str
    """The model's name in the request."""
    identity: str
    """What else decides an answer: the weights and their type, or the endpoint."""
    decoding: DecodingConfig

    def request(self, row: Row) -> Request:
        """The request: instruction, pictures, question. Rows that ask the same have one key."""
        content: Any = row.question
        if row.pictures:  # first, as in training
            parts = [image_part(picture.shown) for picture in row.pictures]
            content = [*parts, {"type": "text", "text": row.question}]
        messages = [{"role": "system", "content": row.system}] if row.system else []
        messages.append({"role": "user", "content": content})
        return Request(self.key(row), {"model": self.model, "messages": messages, **self.sampling})

    def key(self, row: Row) -> str:
        """The key of the answer: a hash of all that decides it."""
        said = json.dumps([row.system, row.question, self.sampling], ensure_ascii=False)
        return answer_key(self.identity, said, *(sha256(p.shown) for p in row.pictures))

    @property
    def sampling(self) -> dict[str, float]:
        """The decoding as a request states it."""
        decoding = self.decoding
        stated = {"temperature": decoding.temperature, "max_tokens": decoding.max_tokens}
        return stated | ({"seed": decoding.seed} if decoding.temperature else {})


def surveyed_file(folder: UPath, number: int) -> UPath:
    """Where the rows of one piece are kept while the job works."""
    return folder / f"{number:06d}.parquet"


def survey(
    reader: Reader, asking: Asking, folder: UPath, say: Callable[[str], None]
) -> tuple[list[Work], list[Keys]]:
    """Read every row once; pieces that a killed run has read are not read again.

    Args:
        reader: of the archive.
        asking: names the requests.
        folder: of the rows that are kept.
        say: prints one line of progress.

    Returns:
        The pieces with the numbers of their rows, and [pieces][rows] the keys.

    Raises:
        InputError: a Parquet file breaks off.
    """
    place = str(folder)

    def read(number: int, work: Work) -> pa.Table:
        keys = survey_piece(number, work.file, reader, asking, UPath(place))
        return pa.table({"number": [number], "keys": pa.array([keys.tobytes()], pa.binary())})

    pieces = reader.archive.pieces
    works = [Work(piece, np.zeros(0, np.int32)) for piece in pieces]
    found: dict[int, Keys] = {}
    said = time.monotonic()
    for table in tables(in_tasks(works, read)):
        for line in table.to_pylist():
            found[line["number"]] = np.frombuffer(line["keys"], KEY_TYPE)
        if time.monotonic() - said > SAY_EVERY:
            said, rows = time.monotonic(), sum(map(len, found.values()))
            say(f"{rows:,} rows read, {len(found):,} of {len(pieces):,} pieces")
    keys = [found[number] for number in range(len(pieces))]
    numbered = [
        Work(piece, np.arange(len(own), dtype=np.int32))
        for piece, own in zip(pieces, keys, strict=True)
    ]
    return numbered, keys


def survey_piece(number: int, piece: str, reader: Reader, asking: Asking, folder: UPath) -> Keys:
    """Read a piece's rows and keep them; [rows] the keys.

    Raises:
        InputError: a Parquet file breaks off.
    """
    file = surveyed_file(folder, number)
    if not file.exists():
        lines = [surveyed(row, asking) for row in reader.rows(piece)]
        write_parquet(file, pa.Table.from_pylist(lines, schema=SURVEYED))
    return np.array(read_parquet(file, ["key"])["key"].to_pylist(), KEY_TYPE)


def surveyed(row: Row, asking: Asking) -> dict[str, Any]:
    """A row by `SURVEYED`."""
    return {
        **{name: getattr(row, name) for name in ("id", "file", "fault", "question", "at")},
        "image_sha256": " ".join(picture.sha256 for picture in row.pictures),
        "key": "" if row.fault else asking.key(row),
    }


def asks_of(works: Sequence[Work], reader: Reader, asking: Asking) -> ray.data.Dataset:
    """The rows of some works as `ASKS`, a few at a time."""

    def each(listed: pa.Table) -> Iterator[pa.Table]:
        for line in listed["work"].to_pylist():
            work = pickle.loads(line)
            rows = reader.rows(work.file, frozenset(work.rows.tolist()))
            requests = (asking.request(row) for row in rows if not row.fault)
            while group := list(islice(requests, GROUP)):
                yield asks_table(group)

    listed = [{"work": pickle.dumps(work)} for work in works]
    dataset = ray.data.from_items(listed, override_num_blocks=max(1, len(listed)))
    return dataset.map_batches(each, batch_format="pyarrow", batch_size=None, num_cpus=READER_CPUS)


def asks_table(requests: Sequence[Request]) -> pa.Table:
    """Requests as a table by `ASKS`."""
    columns = {
        "key": [request.key for request in requests],
        "body": [json.dumps(request.body, ensure_ascii=False) for request in requests],
        "most_prompt": [request.most_prompt_tokens for request in requests],
        "most_completion": [request.body["max_tokens"] for request in requests],
    }
    return pa.table(columns, schema=ASKS)
