"""A trigram language model of a corpus: interpolated Kneser-Ney counts in sorted numpy arrays.

For texts of which no neural model is at hand. Tokens are English words and single characters of
everything else, so that one model reads both languages; words seen once are spelled letter by
letter. (KenLM would be the library of choice, but its Python packages only query: its estimator
is a C++ program that must be compiled; nltk.lm counts in Python dicts.)

Source: Kneser and Ney (1995); Chen and Goodman (1999), interpolated, one fixed discount.
"""

import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.files import complete_file
from doctor_sun.records import sha256

TOKEN = re.compile(r"[a-z]+|[^\sa-z]")
LETTER = "\x01"  # before a letter of a word that is spelled
BEGIN, UNKNOWN = 0, 1
RESERVED = ["\x02", "\x03", *(LETTER + chr(c) for c in range(ord("a"), ord("z") + 1))]
BITS = np.uint64(21)  # of a token in a packed key of three
MOST_TOKENS = 1 << 20
DISCOUNT = 0.75

Keys = NDArray[np.uint64]
Counts = NDArray[np.float32]


@dataclass(frozen=True)
class Ngram:
    """A trained model. Keys are sorted, tokens packed with the last one lowest."""

    tokens: tuple[str, ...]
    """The vocabulary; a token's number is its place."""

    trigrams: Keys
    """[t] triples seen."""
    trigram_counts: Counts
    pairs: Keys
    """[p] the first two of each triple."""
    pair_totals: Counts
    pair_followers: Counts
    bigrams: Keys
    """[b] pairs seen as the last two of a triple."""
    bigram_counts: Counts
    """Tokens seen before the pair (continuation counts), as for all that follows."""
    token_totals: Counts
    """[v]"""
    token_followers: Counts
    unigram_counts: Counts

    def log_probabilities(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        """Natural logarithm of P(token | two before) of every token after the first two."""
        u, v, w = (ids[start : len(ids) - 2 + start].astype(np.uint64) for start in range(3))
        unigrams, total = self.unigram_counts[w], float(self.unigram_counts.sum())
        types = float(np.count_nonzero(self.unigram_counts))
        p = np.maximum(unigrams - DISCOUNT, 0) / total
        p = p + DISCOUNT * types / total / len(self.tokens)
        seen = _find(self.bigrams, self.bigram_counts, (v << BITS) | w)
        p = _interpolated(seen, self.token_totals[v], self.token_followers[v], p)
        pair = (u << BITS) | v
        seen = _find(self.trigrams, self.trigram_counts, (pair << BITS) | w)
        totals = _find(self.pairs, self.pair_totals, pair)
        followers = _find(self.pairs, self.pair_followers, pair)
        return np.log(_interpolated(seen, totals, followers, p))


class NgramScorer:
    """A model that scores texts; holds the vocabulary as a dict."""

    def __init__(self, model: Ngram) -> None:
        self.model = model
        self.numbers = {token: number for number, token in enumerate(model.tokens)}

    def score(
        self, texts: Sequence[str], most_tokens: int | None = None
    ) -> list[tuple[int, float]]:
        """Number of tokens and mean negative log-likelihood (nats) of each text."""
        encoded = [encode(text, self.numbers)[:most_tokens] for text in texts]
        joined = [BEGIN, BEGIN]
        for ids in encoded:
            joined += [*ids, BEGIN, BEGIN]  # what follows sees nothing of the text before
        logs = self.model.log_probabilities(np.asarray(joined, np.int64))
        sums = np.concatenate([[0.0], np.cumsum(logs)])
        scores, start = [], 0
        for ids in encoded:
            count = len(ids)
            loss = -(sums[start + count] - sums[start]) / count if count else 0.0
            scores.append((count, float(loss)))
            start += count + 2
        return scores


def encode(text: str, numbers: dict[str, int]) -> list[int]:
    """A text's tokens as numbers; words outside the vocabulary are spelled."""
    ids: list[int] = []
    for token in TOKEN.findall(text.lower()):
        number = numbers.get(token)
        if number is not None:
            ids.append(number)
        elif token.isascii() and token.isalpha():
            ids += [numbers[LETTER + letter] for letter in token]
        else:
            ids.append(UNKNOWN)
    return ids


def train(texts: Iterable[str]) -> Ngram:
    """A model of some texts; their order makes no difference.

    Raises:
        ValueError: there is no text.
    """
    said = [text for text in texts if text.strip()]
    if not said:
        raise ValueError("an n-gram model needs text to learn from")
    seen = Counter(token for text in said for token in TOKEN.findall(text.lower()))
    frequent = sorted(seen, key=lambda token: (-seen[token], token))[: MOST_TOKENS - len(RESERVED)]
    tokens = (*RESERVED, *(t for t in frequent if len(t) == 1 or seen[t] > 1))
    numbers = {token: number for number, token in enumerate(tokens)}
    ids: list[NDArray[np.int64]] = []
    for text in said:
        ids.append(np.asarray([BEGIN, BEGIN, *encode(text, numbers)], np.int64))
    return _counted(tokens, ids)


def _counted(tokens: tuple[str, ...], texts: Sequence[NDArray[np.int64]]) -> Ngram:
    """The tables of a model, from the numbered tokens of its texts."""
    keys = [_triples(ids.astype(np.uint64)) for ids in texts]
    trigrams, counts = np.unique(np.concatenate(keys), return_counts=True)
    pairs, pair_starts = np.unique(trigrams >> BITS, return_index=True)
    low = (np.uint64(1) << (BITS + BITS)) - np.uint64(1)
    bigrams, bigram_counts = np.unique(trigrams & low, return_counts=True)
    last = (bigrams & ((np.uint64(1) << BITS) - np.uint64(1))).astype(np.int64)
    first = (bigrams >> BITS).astype(np.int64)
    size = len(tokens)
    return Ngram(
        tokens=tokens,
        trigrams=trigrams,
        trigram_counts=counts.astype(np.float32),
        pairs=pairs,
        pair_totals=np.add.reduceat(counts, pair_starts).astype(np.float32),
        pair_followers=np.diff([*pair_starts, len(trigrams)]).astype(np.float32),
        bigrams=bigrams,
        bigram_counts=bigram_counts.astype(np.float32),
        token_totals=np.bincount(first, bigram_counts, size).astype(np.float32),
        token_followers=np.bincount(first, minlength=size).astype(np.float32),
        unigram_counts=np.bincount(last, minlength=size).astype(np.float32),
    )


def _triples(ids: Keys) -> Keys:
    return (ids[:-2] << (BITS + BITS)) | (ids[1:-1] << BITS) | ids[2:]


def _find(keys: Keys, values: Counts, wanted: Keys) -> NDArray[np.float64]:
    """The values of some keys, 0 where a key is missing."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, values[at], 0).astype(np.float64)


def _interpolated(
    seen: NDArray[np.float64],
    totals: NDArray[np.float64] | Counts,
    followers: NDArray[np.float64] | Counts,
    lower: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Discounted counts plus the mass taken from them, spread as the lower order says."""
    known = np.maximum(totals, 1)
    p = (np.maximum(seen - DISCOUNT, 0) + DISCOUNT * followers * lower) / known
    return np.where(totals > 0, p, lower)


def save(model: Ngram, path: UPath) -> None:
    """Write a model as one file; it is complete or not there."""
    arrays = {name: value for name, value in vars(model).items() if name != "tokens"}
    words = np.frombuffer("\n".join(model.tokens).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, words=words, **arrays)
    with complete_file(path) as stream:
        stream.write(buffer.getvalue())


def load(path: UPath) -> Ngram:
    """Read a model."""
    with np.load(io.BytesIO(path.read_bytes())) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "words"}
        tokens = tuple(stored["words"].tobytes().decode().split("\n"))
    return Ngram(tokens=tokens, **arrays)


def fingerprint(model: Ngram) -> str:
    """A name for exactly this model."""
    return sha256("\n".join(model.tokens), model.trigrams.tobytes(), model.trigram_counts.tobytes())
