"""Token n-grams of two languages as numbers: words of English, single characters of Chinese.

Only tokens that some held-out item has get a number; every other token breaks an n-gram. So a block
of rows is tokenised once, turned into one array, and all its n-grams are looked up with NumPy.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from doctor_sun.records import IMAGE_PLACEHOLDER

TOKEN = re.compile(r"[0-9]+|[一-鿿]|[^\W\d_一-鿿]+")
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplication loses nothing modulo 2^64
FILTER_BITS = 22


def tokenise(texts: pa.Array) -> list[list[str]]:
    """The tokens of each text: NFKC, lower case, punctuation and image places left out."""
    plain = pc.replace_substring(texts.fill_null(""), IMAGE_PLACEHOLDER, " ")
    normal = pc.utf8_lower(pc.utf8_normalize(plain, form="NFKC"))
    return [TOKEN.findall(text) for text in normal.to_pylist()]


@dataclass(frozen=True)
class Ragged:
    """Lists of numbers of unequal length, flat: quick to send and to open in another process."""

    values: NDArray[np.int32]
    starts: NDArray[np.int64]
    """[lists + 1]"""

    @classmethod
    def of(cls, lists: Sequence[Sequence[int]]) -> "Ragged":
        """From a list of lists."""
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        flat = [value for values in lists for value in values]
        return cls(np.asarray(flat, np.int32), np.concatenate([[0], np.cumsum(lengths)]))

    @classmethod
    def grouped(cls, owners: NDArray[np.int64], values: NDArray[np.int64], count: int) -> "Ragged":
        """The values of each owner 0 to count - 1, in the order given."""
        order = np.argsort(owners, kind="stable")
        lengths = np.bincount(owners, minlength=count)
        return cls(values[order].astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> NDArray[np.int32]:
        return self.values[self.starts[number] : self.starts[number + 1]]

    def lengths(self) -> NDArray[np.int64]:
        """[lists] how many numbers each has."""
        return np.diff(self.starts)

    def take(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """All values of the lists named, and for each value which of `numbers` it is from."""
        lengths = self.lengths()[numbers]
        owners = np.repeat(np.arange(len(numbers)), lengths)
        before = np.cumsum(lengths) - lengths
        at = np.arange(len(owners)) - before[owners] + self.starts[numbers][owners]
        return self.values[at], owners


@dataclass(frozen=True)
class Tokens:
    """The tokens of some texts in one array, a 0 after each text."""

    ids: NDArray[np.int32]
    """Numbers of the vocabulary from 1; 0 for any other token and between texts."""

    starts: NDArray[np.int64]
    """[texts + 1] where each text begins."""

    @classmethod
    def of(cls, texts: Iterable[Sequence[int]]) -> "Tokens":
        """From the token numbers of each text."""
        flat: list[int] = []
        starts = [0]
        for ids in texts:
            flat += ids
            flat.append(0)
            starts.append(len(flat))
        return cls(np.asarray(flat, np.int32), np.asarray(starts, np.int64))

    def text(self, number: int) -> NDArray[np.int32]:
        """One text's tokens."""
        return self.ids[self.starts[number] : self.starts[number + 1] - 1]

    def owner(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which text each position belongs to."""
        return np.searchsorted(self.starts, positions, side="right") - 1


def row_tokens(turns: pa.ChunkedArray, vocabulary: Mapping[str, int]) -> Tokens:
    """The conversations of some rows, each as one sequence across turns and paragraphs."""
    lists = turns.combine_chunks()
    said = pc.struct_field(pc.list_flatten(lists), "text")
    rows: list[list[int]] = [[] for _ in range(len(lists))]
    parents = pc.list_parent_indices(lists).to_pylist()
    for row, tokens in zip(parents, tokenise(said), strict=True):
        rows[row] += [vocabulary.get(token, 0) for token in tokens]
    return Tokens.of(rows)


def gram_hashes(ids: NDArray[np.int32], size: int) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """[n - size + 1] hash of the tokens from each position, and whether all of them are known."""
    count = max(len(ids) - size + 1, 0)
    mixed = (ids.astype(np.uint64) * FACTOR) ^ np.uint64(0xD1B54A32D192ED03)
    mixed ^= mixed >> np.uint64(29)
    hashes = np.full(count, size, np.uint64)
    known = np.ones(count, np.bool_)
    for offset in range(size):
        hashes = hashes * FACTOR + mixed[offset : offset + count]
        hashes ^= hashes >> np.uint64(32)
        known &= ids[offset : offset + count] != 0
    return hashes, known


@dataclass(frozen=True)
class GramTable:
    """The n-grams of the held-out items, numbered by the order of their hashes."""

    sizes: tuple[int, ...]
    """The lengths that occur."""

    hashes: NDArray[np.uint64]
    """Sorted, distinct."""

    filter: NDArray[np.bool_]
    """[2^22] whether any hash has these upper bits: nearly all other n-grams end here."""

    @classmethod
    def of(cls, sizes: Iterable[int], hashes: NDArray[np.uint64]) -> "GramTable":
        """From all hashes, in any order."""
        distinct = np.unique(hashes)
        marked = np.zeros(1 << FILTER_BITS, np.bool_)
        marked[distinct >> np.uint64(64 - FILTER_BITS)] = True
        return cls(tuple(sorted(set(sizes))), distinct, marked)

    def find(self, ids: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where in a token sequence an n-gram of the table begins, and which it is."""
        positions, grams = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for size in self.sizes:
            hashes, known = gram_hashes(ids, size)
            at = np.flatnonzero(known & self.filter[hashes >> np.uint64(64 - FILTER_BITS)])
            number = np.searchsorted(self.hashes, hashes[at])
            number[number == len(self.hashes)] = 0
            real = self.hashes[number] == hashes[at] if len(self.hashes) else number > 0
            positions.append(at[real])
            grams.append(number[real])
        return np.concatenate(positions), np.concatenate(grams)


def occurrences(sequence: NDArray[np.int32], part: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where a part begins in a sequence of tokens; nowhere for an empty part."""
    if not len(part) or len(part) > len(sequence):
        return np.zeros(0, np.int64)
    starts = np.flatnonzero(sequence[: len(sequence) - len(part) + 1] == part[0])
    for offset in range(1, len(part)):
        starts = starts[sequence[starts + offset] == part[offset]]
    return starts
