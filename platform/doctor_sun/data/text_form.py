"""Forms of a text that the duplicate steps compare."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pyarrow as pa

# An end mark with what closes behind it; a full stop only before a blank (not in 5.5 or e.g.).
SENTENCE_END = re.compile(
    r"[。！？!?…]+[」』”’\")）]*\s*"
    r"|(?<!\bDr)(?<!\bNo)(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)(?<!\bFig)\.+[\"”’)]*(?:\s+|$)"
    r"|\n\s*"
)
CONTENT = re.compile(r"[a-z0-9]+|[一-鿿]")
# Words that carry no content of their own, forms of address included.
EMPTY_WORDS = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "in",
        "on",
        "at",
        "to",
        "is",
        "are",
        "was",
        "were",
        "be",
        "and",
        "or",
        "there",
        "please",
        "question",
        "hello",
    ]
) | frozenset("的之了吗呢吧请问题您你好是在")


def normalised(text: str) -> str:
    """NFKC, lower case, white space as single blanks: what counts as the same text."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def sentences(text: str) -> list[str]:
    """A text cut behind each sentence and line, Chinese or English; joined they are the text."""
    ends = [found.end() for found in SENTENCE_END.finditer(text)]
    pieces = [text[start:end] for start, end in pairwise([0, *ends, len(text)])]
    return [piece for piece in pieces if piece]


def content_units(text: str) -> Counter[str]:
    """How often each content word (English) or character (Chinese), and each two in a row, occur.

    The pairs make the order count: the same words shuffled are another text.
    """
    found = CONTENT.findall(unicodedata.normalize("NFKC", text).lower())
    units = [unit for unit in found if unit not in EMPTY_WORDS]
    return Counter(units) + Counter(f"{a} {b}" for a, b in pairwise(units))


def agreement(a: Counter[str], b: Counter[str]) -> float:
    """Part of the content of two texts that they share: multiset intersection over union."""
    shared = sum(min(count, b[unit]) for unit, count in a.items() if unit in b)
    union = a.total() + b.total() - shared
    return shared / union if union else 1.0


def conversations(turns: pa.ChunkedArray) -> Iterator[list[tuple[str, str]]]:
    """The (role, text) pairs of each row of a column of `records.TURNS`.

    Several times faster than `to_pylist`, which makes a dict of every turn.
    """
    for chunk in turns.chunks:
        roles, texts = (chunk.values.field(place).to_pylist() for place in (0, 1))
        said = list(zip(roles, texts, strict=True))
        offsets = chunk.offsets.to_pylist()
        yield from (said[start:end] for start, end in pairwise(offsets))
