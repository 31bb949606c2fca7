"""Held-out questions in the text of rows: by rare n-grams, or by the question and its answer.

The practice of n-gram decontamination (GPT-3's 13-grams, allenai/decon's weighted n-grams), with
what its audits found missing (marin issues 6852 and 7126: short items missed, boilerplate flagged):

- An n-gram weighs 1 - log(items that have it) / log(items): a stem that many items share says
  little. It weighs less, too, the more rows beyond `common_rows` have it: report boilerplate says
  little, while an item that was copied many times keeps the proportions of its n-grams.
- An item is *long* when its n-grams weigh enough together: then a row that has the stated part of
  that weight holds the question, wherever in the row it stands. Options are not compared, so their
  order does not matter.
- Any other item counts only together with its picture (`step`), or, when it has none, with its
  answer or its options after the whole question.

Long questions are found by prefix filtering (Chaudhuri et al. 2006): a row can only reach the
threshold if it has one of the item's rarest n-grams that together weigh more than the rest may.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from doctor_sun.data.decontamination.grams import (
    GramTable,
    Ragged,
    Tokens,
    gram_hashes,
    occurrences,
    tokenise,
)
from doctor_sun.data.decontamination.items import HeldOutItem

OPTIONS_SHARED = 0.75
TOLERANCE = 1e-6


@dataclass(kw_only=True)
class TextConfig:
    """When a row's text holds a held-out question."""

    words: int = 5
    """Words of an English n-gram."""

    characters: int = 6
    """Characters of a Chinese n-gram."""

    long_words: int = 10
    """Words an English question must have beyond what other items share to count alone."""

    long_characters: int = 16
    """Characters a Chinese question must have likewise."""

    containment: float = 0.7
    """Part of a long question's weighted n-grams that a row must have."""

    answer_window: int = 64
    """Tokens after a short question in which its answer or options must stand, added to twice
    their own length."""

    common_rows: int = 10
    """Rows that may have an n-gram before its weight falls, as `common_rows` / rows."""

    def size(self, language: str) -> int:
        """Tokens of an n-gram."""
        return self.words if language == "en" else self.characters

    def long(self, language: str) -> int:
        """Weight from which a question counts alone: its n-grams, were all of them unique."""
        tokens = self.long_words if language == "en" else self.long_characters
        return tokens - self.size(language) + 1


@dataclass(frozen=True)
class TextMatch:
    """A held-out question in a row."""

    row: int
    item: int
    level: str
    """`text`: the long question; `answer`: the short question with its answer."""
    containment: float


@dataclass(frozen=True)
class ItemTokens:
    """The token numbers of all items."""

    vocabulary: dict[str, int]
    questions: Ragged
    answers: Ragged
    options: Ragged
    """All options of all items."""
    option_starts: NDArray[np.int64]
    """[items + 1] where each item's options begin."""

    @classmethod
    def of(cls, items: Sequence[HeldOutItem]) -> "ItemTokens":
        """Tokenise the items and number their tokens."""
        vocabulary: dict[str, int] = {}

        def number(token: str) -> int:
            return vocabulary.setdefault(token, len(vocabulary) + 1)

        def numbered(texts: Sequence[str]) -> Ragged:
            found = tokenise(pa.array(texts, pa.string()))
            numbers = [[number(token) for token in tokens] for tokens in found]
            return Ragged.of(numbers)

        counts = [len(item.options) for item in items]
        return cls(
            vocabulary,
            numbered([item.question for item in items]),
            numbered([item.answer for item in items]),
            numbered([option for item in items for option in item.options]),
            np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        )

    def options_of(self, item: int) -> list[NDArray[np.int32]]:
        """An item's options."""
        numbers = range(self.option_starts[item], self.option_starts[item + 1])
        return [self.options[number] for number in numbers]


@dataclass(frozen=True)
class ItemGrams:
    """The n-grams of all questions."""

    table: GramTable
    grams: Ragged
    """By item, each once."""
    languages: Sequence[str]

    @classmethod
    def of(
        cls, tokens: ItemTokens, items: Sequence[HeldOutItem], config: TextConfig
    ) -> "ItemGrams":
        """Number the n-grams; a question shorter than one is a single n-gram of its own length."""
        languages = [item.language for item in items]
        full = np.asarray([config.size(language) for language in languages], np.int64)
        sizes = np.minimum(full, tokens.questions.lengths())
        found = []
        for size in sorted(set(sizes.tolist()) - {0}):
            chosen = np.flatnonzero(sizes == size)
            texts = Tokens.of([tokens.questions[item].tolist() for item in chosen])
            hashes, known = gram_hashes(texts.ids, int(size))
            at = np.flatnonzero(known)
            found.append((hashes[at], chosen[texts.owner(at)]))
        hashes = np.concatenate([np.zeros(0, np.uint64), *(part for part, _ in found)])
        owners = np.concatenate([np.zeros(0, np.int64), *(part for _, part in found)])
        table = GramTable.of(set(sizes.tolist()) - {0}, hashes)
        pairs = np.unique(np.stack([owners, np.searchsorted(table.hashes, hashes)], axis=1), axis=0)
        return cls(table, Ragged.grouped(pairs[:, 0], pairs[:, 1], len(items)), languages)

    def weights(self, rows: NDArray[np.float64], config: TextConfig) -> NDArray[np.float64]:
        """[grams] 1 for an n-gram of one item, towards 0 as more items or rows have it.

        Args:
            rows: [grams] how many rows have each.
            config: says how many may.
        """
        items = np.bincount(self.grams.values, minlength=len(self.table.hashes))
        weights = 1 - np.log(np.maximum(items, 1)) / np.log(len(self.languages) + 1)
        return weights * np.minimum(1, config.common_rows / np.maximum(rows, 1))


@dataclass(frozen=True)
class TextIndex:
    """What is sent to every task to find held-out questions."""

    tokens: ItemTokens
    table: GramTable
    grams: Ragged
    """By item."""
    weights: NDArray[np.float64]
    """By n-gram."""
    total: NDArray[np.float64]
    """[items] weight of all n-grams of its question."""
    long: NDArray[np.bool_]
    """[items] whether its question counts alone."""
    half_long: NDArray[np.bool_]
    """[items] whether a short question has half the weight of a long one."""
    long_postings: Ragged
    """By n-gram: the long items that it is a sign of."""
    short_postings: Ragged
    """By n-gram: the short items without a picture whose rarest n-gram it is."""
    config: TextConfig

    @classmethod
    def of(
        cls,
        items: Sequence[HeldOutItem],
        tokens: ItemTokens,
        grams: ItemGrams,
        rows: NDArray[np.float64],
        config: TextConfig,
    ) -> "TextIndex":
        """Weigh the n-grams, part long from short items, and choose what each is looked up by."""
        weights = grams.weights(rows, config)
        total = np.zeros(len(items))
        owners = np.repeat(np.arange(len(items)), grams.grams.lengths())
        np.add.at(total, owners, weights[grams.grams.values])
        needed = np.asarray([config.long(language) for language in grams.languages], np.float64)
        long = total >= needed - TOLERANCE
        shows = np.asarray([item.shows for item in items], np.bool_)
        return cls(
            tokens=tokens,
            table=grams.table,
            grams=grams.grams,
            weights=weights,
            total=total,
            long=long,
            half_long=total >= needed / 2,
            long_postings=_postings(grams, weights, np.flatnonzero(long), 1 - config.containment),
            short_postings=_postings(grams, weights, np.flatnonzero(~long & ~shows), 0.0),
            config=config,
        )

    def matches(self, rows: Tokens) -> Iterator[TextMatch]:
        """Every held-out question in some rows' texts."""
        positions, grams = self.table.find(rows.ids)
        has = np.unique(rows.owner(positions) * len(self.table.hashes) + grams)
        row, gram = np.divmod(has, max(len(self.table.hashes), 1))
        yield from self._long(has, row, gram)
        yield from self._short(rows, row, gram)

    def _long(
        self, has: NDArray[np.int64], row: NDArray[np.int64], gram: NDArray[np.int64]
    ) -> Iterator[TextMatch]:
        """Long questions: the weight of their n-grams that a row has."""
        items, owners = self.long_postings.take(gram)
        pairs = np.unique(np.stack([row[owners], items], axis=1), axis=0)
        wanted, owners = self.grams.take(pairs[:, 1])
        keys = pairs[owners, 0] * len(self.table.hashes) + wanted
        at = np.minimum(np.searchsorted(has, keys), max(len(has) - 1, 0))
        found = has[at] == keys if len(has) else np.zeros(0, np.bool_)
        weight = np.zeros(len(pairs))
        np.add.at(weight, owners[found], self.weights[wanted[found]])
        part = weight / self.total[pairs[:, 1]]
        for number in np.flatnonzero(part >= self.config.containment - TOLERANCE):
            row_number, item = map(int, pairs[number])
            yield TextMatch(row_number, item, "text", float(part[number]))

    def _short(
        self, rows: Tokens, row: NDArray[np.int64], gram: NDArray[np.int64]
    ) -> Iterator[TextMatch]:
        """Short questions: the whole of it, and after it the answer or the options."""
        items, owners = self.short_postings.take(gram)
        for number, item in sorted(set(zip(row[owners].tolist(), items.tolist(), strict=True))):
            if self._answered(rows.text(number), item):
                yield TextMatch(number, item, "answer", 1.0)

    def _answered(self, said: NDArray[np.int32], item: int) -> bool:
        question, answer = self.tokens.questions[item], self.tokens.answers[item]
        options = self.tokens.options_of(item)
        reach = self.config.answer_window + 2 * (len(answer) + sum(map(len, options)))
        for start in occurrences(said, question):
            end = start + len(question)
            after = said[end : end + reach]
            answered = len(occurrences(after, answer)) > 0
            shared = [len(occurrences(after, option)) > 0 for option in options]
            if options and sum(shared) >= OPTIONS_SHARED * len(shared):
                return True
            if answered and (not options or self.half_long[item]):
                return True
        return False

    def holds_question(self, said: NDArray[np.int32], item: int) -> bool:
        """Whether a row's text has an item's whole question."""
        return len(occurrences(said, self.tokens.questions[item])) > 0

    def holds_answer(self, said: NDArray[np.int32], item: int) -> bool:
        """Whether a row's text has an item's answer."""
        return len(occurrences(said, self.tokens.answers[item])) > 0


def _postings(
    grams: ItemGrams, weights: NDArray[np.float64], items: NDArray[np.int64], spare: float
) -> Ragged:
    """By n-gram, the items that it is a sign of.

    Args:
        grams: of all items.
        weights: by n-gram.
        items: which of them are looked up.
        spare: part of an item's weight that a row may lack: its signs, the rarest first, are as
            many as weigh more than that.
    """
    values, owners = grams.grams.take(items)
    order = np.lexsort((values, -weights[values], owners))
    values, owners, weight = values[order], owners[order], weights[values[order]]
    total = np.bincount(owners, weight, minlength=len(items))
    begins = np.searchsorted(owners, np.arange(len(items)))
    summed = np.cumsum(weight)
    before = summed - weight - (summed - weight)[begins][owners] if len(items) else summed
    signs = before <= spare * total[owners] + TOLERANCE
    if spare == 0.0:
        signs = np.arange(len(owners)) == begins[owners]
    count = len(grams.table.hashes)
    return Ragged.grouped(values[signs].astype(np.int64), items[owners[signs]], count)
