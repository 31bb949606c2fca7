"""N-gram models of the rows at hand, so that each row is judged by one that never read it.

Of every source and language the rows with the smallest hashes of their ids are taken, whatever
the order or partition of the data, and split in two halves. Each half trains one model; a row is
judged by the model of the other half. (A model that has read a broken row finds it probable.)
"""

import hashlib
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.data import ngram
from doctor_sun.data.rows import tables
from doctor_sun.errors import InputError
from doctor_sun.records import text_of

HALVES = 2
MOST_CHARACTERS = 2000  # of a row that a model learns from


def hashes(ids: pa.ChunkedArray) -> NDArray[np.uint64]:
    """A number for each id, equal in every run; its last bit tells the half."""
    digests = (hashlib.blake2b(id.encode(), digest_size=8).digest() for id in ids.to_pylist())
    return np.frombuffer(b"".join(digests), np.uint64)


def halves(ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """The half of each row, 0 or 1."""
    return (hashes(ids) % HALVES).astype(np.int64)


def groups(table: pa.Table) -> pa.ChunkedArray:
    """`source/language` of each row."""
    return pc.binary_join_element_wise(table["source"], table["language"], "/")


def train_on(rows: ray.data.Dataset, most_rows: int, work: UPath) -> tuple[str, ...]:
    """Train one model on each half of a sample of the rows; the two files below `work`.

    Models that an interrupted run has left are taken as they are.

    Raises:
        InputError: the rows hold no text.
    """
    files = tuple(work / f"ngram-{half}.npz" for half in range(HALVES))
    if not all(file.exists() for file in files):
        limits = _sample_limits(rows, most_rows)
        sample = rows.map_batches(
            _sampled, fn_kwargs={"limits": limits}, batch_format="pyarrow", batch_size=None
        )
        blocks = sample.to_arrow_refs()
        if not all(ray.get([_train.remote(blocks, h, str(f)) for h, f in enumerate(files)])):
            raise InputError("perplexity: too little text for an n-gram model of the rows")
    return tuple(map(str, files))


def _sample_limits(rows: ray.data.Dataset, most_rows: int) -> dict[str, int]:
    """The largest hash of a sampled row, by group."""
    hashed = rows.map_batches(_hashed, batch_format="pyarrow", batch_size=None)
    found: dict[str, list[NDArray[np.uint64]]] = defaultdict(list)
    for table in tables(hashed):
        for group, values in zip(table["group"], table["hashes"], strict=True):
            found[group.as_py()].append(values.values.to_numpy())
    limits = {}
    for group, parts in found.items():
        values = np.concatenate(parts)
        last = min(most_rows, len(values)) - 1
        limits[group] = int(np.partition(values, last)[last])
    return limits


def _hashed(table: pa.Table) -> pa.Table:
    """The hashes of a block's rows, one list a group."""
    own = pa.table({"group": groups(table), "hashes": hashes(table["id"])})
    return own.group_by("group").aggregate([("hashes", "list")]).rename_columns(["group", "hashes"])


def _sampled(table: pa.Table, limits: dict[str, int]) -> pa.Table:
    """Half and text of a block's sampled rows."""
    numbers = hashes(table["id"])
    last = np.array([limits[group] for group in groups(table).to_pylist()], np.uint64)
    chosen = table.filter(pa.array(numbers <= last))
    texts = [text_of(turns)[:MOST_CHARACTERS] for turns in chosen["turns"].to_pylist()]
    half = numbers[numbers <= last] % HALVES
    return pa.table({"half": pa.array(half, pa.int64()), "text": pa.array(texts, pa.string())})


@ray.remote
def _train(blocks: list["ray.ObjectRef[pa.Table]"], half: int, file: str) -> bool:
    """Train on one half and write the model; False when there is no text."""
    texts: list[str] = []
    for block in blocks:
        table = ray.get(block)
        texts += table.filter(pc.equal(table["half"], half))["text"].to_pylist()
    try:
        ngram.save(ngram.train(texts), UPath(file))
    except ValueError:
        return False
    return True
