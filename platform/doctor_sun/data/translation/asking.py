"""Rows -> requests: every request that has no answer yet, once.

The driver knows which keys are asked for and which are answered, so that no two actors ever pay for
one key.
"""

import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.asking.answers import KEY_TYPE, AnswerIndex, Keys, Places
from doctor_sun.asking.asker import ASKS, Ask, follow
from doctor_sun.asking.chat_client import Answer
from doctor_sun.asking.requests import Request
from doctor_sun.data.rows import Row, tables

MOST_IN_BATCH = 2048
LEAST_IN_BATCH = 16
TEXT_COLUMNS = ("id", "source", "source_key", "domain", "language", "task", "turns")

Build = Callable[[Sequence[Row], Mapping[str, Answer]], Sequence[Request | None]]
"""From rows and the answers they need to one request a row; None asks nothing."""
Choose = Callable[[str], NDArray[np.int32]]
"""From a file to the numbers of the rows that are worked on, rising."""


@dataclass(frozen=True)
class Work:
    """Some rows of a file, and where the answers stand that they need."""

    file: str
    rows: NDArray[np.int32]
    """Their numbers in the file, rising."""
    places: Places | None = None

    def table(self, columns: Sequence[str] | None = TEXT_COLUMNS) -> pa.Table:
        """The rows; None reads all columns."""
        with UPath(self.file).open("rb") as stream:
            return pq.read_table(stream, columns=columns and list(columns)).take(self.rows)

    def requests(self, build: Build) -> Sequence[Request | None]:
        """One request a row, or None."""
        answers = self.places.read() if self.places else {}
        return build(self.table().to_pylist(), answers)


def in_tasks(works: Sequence[Work], do: Callable[[int, Work], pa.Table]) -> ray.data.Dataset:
    """`do(number, work)` for each piece of work, in Ray Data tasks."""
    rows = [{"number": n, "work": pickle.dumps(work)} for n, work in enumerate(works)]

    def each(listed: pa.Table) -> pa.Table:
        return pa.concat_tables(
            [do(row["number"], pickle.loads(row["work"])) for row in listed.to_pylist()]
        )

    listed = ray.data.from_items(rows, override_num_blocks=max(1, len(rows)))
    return listed.map_batches(each, batch_format="pyarrow", batch_size=None)


def request_keys(
    works: Sequence[Work], build: Build, choose: Choose | None = None
) -> tuple[list[Work], list[Keys]]:
    """The key of each row's request, empty where nothing is asked.

    Args:
        works: rows, or with `choose` files of which it chooses rows.
        build: from rows to requests.
        choose: from a file to the numbers of its rows.

    Returns:
        The works, rows chosen, and [works][rows] the keys.
    """

    def keys_of(number: int, work: Work) -> pa.Table:
        work = Work(work.file, choose(work.file), work.places) if choose else work
        keys = [request.key if request else "" for request in work.requests(build)]
        arrays = (work.rows.tobytes(), np.array(keys, KEY_TYPE).tobytes())
        rows, joined = (pa.array([array], pa.binary()) for array in arrays)
        return pa.table({"number": [number], "rows": rows, "keys": joined})

    found = {r["number"]: r for t in tables(in_tasks(works, keys_of)) for r in t.to_pylist()}
    chosen = [
        Work(work.file, np.frombuffer(found[n]["rows"], np.int32), work.places)
        for n, work in enumerate(works)
    ]
    return chosen, [np.frombuffer(found[n]["keys"], KEY_TYPE) for n in range(len(works))]


def missing_works(
    works: Sequence[Work], keys: Sequence[Keys], index: AnswerIndex, actors: int
) -> list[Work]:
    """The work that is left: the first row of each key that has no answer, in batches."""
    together = np.concatenate([np.zeros(0, KEY_TYPE), *keys])
    _, first = np.unique(together, return_index=True)
    wanted = np.zeros(len(together), bool)
    wanted[first] = True
    wanted &= (together != b"") & (index.find(together) < 0)
    size = -(-int(wanted.sum()) // (4 * actors))
    size = min(MOST_IN_BATCH, max(LEAST_IN_BATCH, size))
    left, start = [], 0
    for work, own in zip(works, keys, strict=True):
        rows = work.rows[wanted[start : start + len(own)]]
        start += len(own)
        left += [
            Work(work.file, rows[at : at + size], work.places) for at in range(0, len(rows), size)
        ]
    return left


def ask_missing(
    works: Sequence[Work], build: Build, ask: Ask, say: Callable[[str], None]
) -> dict[str, str]:
    """Ask for everything that `works` still needs; the classes of the final errors by key.

    Raises:
        InputError: the budget is spent, or the endpoint cannot work at all.
    """

    def asks_of(_: int, work: Work) -> pa.Table:
        requests = [request for request in work.requests(build) if request]
        return pa.table(
            {
                "key": [request.key for request in requests],
                "body": [json.dumps(request.body, ensure_ascii=False) for request in requests],
                "most_prompt": [request.most_prompt_tokens for request in requests],
                "most_completion": [request.body["max_tokens"] for request in requests],
            },
            schema=ASKS,
        )

    if not works:
        return {}
    return follow(ask(in_tasks(works, asks_of)), sum(len(work.rows) for work in works), say)
