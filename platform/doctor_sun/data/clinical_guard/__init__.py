"""What two texts, however alike, say differently in clinical terms (English and Chinese).

Embeddings place "nodule in the left lung" and "nodule in the right lung" side by side. Before
two texts count as the same, this guard compares what must not differ: numbers with their units,
sides, negations, signs (more or less, positive or negative), times, drugs, sites and persons.
A pair that it cannot match is kept apart.

Each text is read once (`extract`); two readings are then compared (`compare`), which is cheap
enough for millions of candidate pairs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Literal

from doctor_sun.data.clinical_guard.drugs import changes_drug, take_drugs
from doctor_sun.data.clinical_guard.exchange import exchanged_word, tokens
from doctor_sun.data.clinical_guard.negation import Negations, negations, opposed
from doctor_sun.data.clinical_guard.normal_form import normal_form
from doctor_sun.data.clinical_guard.opposites import contexts, contradiction, words
from doctor_sun.data.clinical_guard.quantities import take_quantities
from doctor_sun.data.clinical_guard.sides import exchanged, said_of_sides
from doctor_sun.data.clinical_guard.terms import AXES, Rule, take_terms, with_phrases

Kind = Literal["number", "side", "negation", "sign", "time", "drug", "site", "person", "word"]
TEXTS_REMEMBERED = 4096  # the texts of a cluster are compared one after the other


@dataclass(frozen=True)
class Difference:
    """One clinical difference: its kind, and what either text says."""

    kind: Kind
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Extract:
    """What a text says that must not differ, read once."""

    numbers: Mapping[str, tuple[str, ...]]
    """Values in order, by unit."""

    terms: Mapping[str, tuple[str, ...]]
    """Classes of words in order, by axis of `terms.AXES`."""

    drugs: tuple[str, ...]
    """Generic names in order."""

    changes_drug: bool
    """Whether one drug replaces another, so that their order matters."""

    sides: Mapping[str, frozenset[str]]
    """What is said of the left and of the right."""

    negations: Negations
    """What is negated, what is not."""

    words: frozenset[str]
    """English words."""

    tokens: tuple[str, ...]
    """Words and Chinese characters in order, numbers and drugs left out."""

    contexts: Mapping[tuple[str, str], frozenset[str]]
    """Chinese characters of opposite meaning, by axis and neighbour."""


@lru_cache(TEXTS_REMEMBERED)
def extract(text: str) -> Extract:
    """What a text says that must not differ. English, Chinese or mixed."""
    whole = with_phrases(normal_form(text))
    drugs, rest = take_drugs(whole)
    numbers, rest = take_quantities(rest)
    terms = take_terms(rest)
    return Extract(
        numbers=numbers,
        terms=terms,
        drugs=drugs,
        changes_drug=changes_drug(whole),
        sides=said_of_sides(whole) if len(set(terms.get("side", ()))) > 1 else {},
        negations=negations(whole),
        words=words(rest),
        tokens=tokens(rest),
        contexts=contexts(rest),
    )


def differences(a: str, b: str) -> list[Difference]:
    """What differs clinically between two texts; empty when nothing does.

    The texts may be English, Chinese or mixed, but in the same language as each other.
    """
    return [] if a == b else list(compare(extract(a), extract(b)))


def compare(a: Extract, b: Extract) -> Iterator[Difference]:
    """The differences between two readings, one of a kind or more."""
    yield from _number_differences(a, b)
    yield from _term_differences(a, b)
    if exchanged(a.sides, b.sides):
        yield Difference("side", "left and right", "exchanged")
    if sorted(a.drugs) != sorted(b.drugs) or (
        a.drugs != b.drugs and (a.changes_drug or b.changes_drug)
    ):
        yield Difference("drug", " ".join(a.drugs), " ".join(b.drugs))
    negated = opposed(a.negations, b.negations)
    if negated:
        yield Difference("negation", *negated)
    contrary = contradiction(a.words, b.words, a.contexts, b.contexts)
    if contrary:
        yield Difference("sign", *contrary)
    word = exchanged_word(a.tokens, b.tokens)
    if word:
        yield Difference("word", *word)


def _number_differences(a: Extract, b: Extract) -> Iterator[Difference]:
    for unit in sorted(a.numbers.keys() | b.numbers.keys()):
        first, second = a.numbers.get(unit, ()), b.numbers.get(unit, ())
        if not _equal(first, second):
            yield Difference("number", " ".join((*first, unit)), " ".join((*second, unit)))


def _term_differences(a: Extract, b: Extract) -> Iterator[Difference]:
    for axis in sorted(a.terms.keys() | b.terms.keys()):
        kind, rule = AXES[axis]
        first, second = a.terms.get(axis, ()), b.terms.get(axis, ())
        if first != second and _differ(rule, first, second) and not _moved(axis, a, b):
            yield Difference(kind, " ".join(first), " ".join(second))


def _differ(rule: Rule, first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    if rule == "ordered":
        return not _equal(first, second)
    only_first, only_second = set(first) - set(second), set(second) - set(first)
    if rule == "set":
        return bool(only_first or only_second)
    return bool(only_first and only_second)  # substituted: an omission is no contradiction


def _moved(axis: str, a: Extract, b: Extract) -> bool:
    """Whether the clauses on left and right only stand in another order."""
    if axis != "side" or sorted(a.terms.get(axis, ())) != sorted(b.terms.get(axis, ())):
        return False
    return exchanged(a.sides, b.sides) is False


def _equal(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    """Whether the same is said in the same order; one text may say a thing twice in a row."""
    if first == second or len(first) == len(second):
        return first == second
    return _without_repeats(first) == _without_repeats(second)


def _without_repeats(values: tuple[str, ...]) -> list[str]:
    return [value for value, _ in groupby(values)]
