"""What a text negates.

Right behind a cue (no, without, 未见) stands what it negates for certain; to the end of the
sentence stands what it may negate. A unit that one text negates for certain and the other says
without a negation in reach is a difference. A comma ends what is certain, not what is possible, so
that other punctuation makes no difference.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

STEM = 6  # letters by which words are compared
CERTAIN_WORDS = 2
CERTAIN_CHARACTERS = 4

# Phrases that hold a negating word without negating.
IDIOM = re.compile(
    r"是否|有无|有没有|能不能|可不可以|不仅|不但|不断|不久|非常|除非|未来|无论|不管|无名|无花果|"
    r"\bnot only\b|\bno doubt\b|\bnonsteroidal\b|非甾体|无创|无菌|非霍奇金|不适|禁忌|失禁|禁区|"
    r"cannot_be_excluded|_no_|(?:未见|无|没有)(?:明显|显著)?异常(?![一-鿿])"
)
AFTER = re.compile(  # what they negate stands before them
    r"\b(?:is|are|was|were|be|been|being)?\s*(?:not|n't) (?:been )?(?:clearly |definitely )?"
    r"(?:seen|identified|present|visuali[sz]ed|demonstrated|evident|detected|appreciated|noted|found"
    r"|observed)\b|\babsent\b|\b(?:ruled out|excluded)\b|(?:已)?排除(?=[。;,.，\s]|$)|缺如|消失"
)
BEFORE = re.compile(
    r"\b(?:no|not|without|denies|denied|deny|denying|negative for|absence of|free of|never|none|nor"
    r"|neither|cannot|lack of|lacks|fail(?:s|ed)? to|unable to|inability to|no longer"
    r"|failure to|rule out|ruled out|excludes?|avoid(?:s|ed|ing)?)\b|n't\b"
    r"|未见|未发现|未及|未触及|未闻及|未示|否认|没有|排除|并非"
    r"|忌|避免|禁[用食止忌]?|无|未|不|非|没"
)
WITHIN = re.compile(r"\bnon([a-z]{4,})")  # negates the rest of its word
AFFIRMED = re.compile(
    r"\b(?:is|are|was|were) (?:seen|present|noted|identified|found|visible)\b|\bbut\b|\bhowever\b|"
    r"可见|另见|但|而|伴有|[.;。\n?!](?!\d)"
)
UNIT = re.compile(r"[a-z]{3,}|[一-鿿]+")
_MEANINGLESS = (
    "the and for with are was were there this that has have had been its from into than any other "
    "evidence sign signs significant definite acute focal obvious clear patient noted seen "
    "identified found present demonstrated visualized observed detected evident appreciated "
    "shows showed report reports history"
)
MEANINGLESS = frozenset(_MEANINGLESS.split())
EMPTY_CHARACTERS = re.compile("明显|显著|异常|征象|任何|[的之内及和与或有见]")


@dataclass(frozen=True, slots=True)
class Negations:
    """The units of a text: stems of English words, pairs of Chinese characters."""

    cues: int
    certain: frozenset[str]
    """Right behind a cue."""

    possible: frozenset[str]
    """In the reach of a cue."""

    affirmed: frozenset[str]
    """In no cue's reach at least once."""


def negations(text: str) -> Negations:
    """What a text negates; in normal form, its phrases replaced."""
    text = IDIOM.sub(" ", text)
    certain: set[str] = set()
    reached: list[tuple[int, int]] = []
    cues = 0
    for span, units in (*_backward(text), *_within(text)):
        reached.append(span)
        certain.update(units)
        cues += 1
    for cue in BEFORE.finditer(text):
        if any(start <= cue.start() < end for start, end in reached):
            continue
        span, units = _forward(text, cue)
        reached.append(span)
        certain.update(units)
        cues += 1
    inside = [text[start:end] for start, end in reached]
    possible = frozenset(unit for part in inside for unit in _all_units(part))
    return Negations(cues, frozenset(certain), possible, frozenset(_all_units(_cut(text, reached))))


Reach = tuple[tuple[int, int], list[str]]
"""Where a cue may negate, and the units that it negates for certain."""


def _backward(text: str) -> Iterator[Reach]:
    """Of cues behind what they negate: "is absent"."""
    for cue in AFTER.finditer(text):
        start = _sentence_start(text, cue.start())
        yield (start, cue.end()), _units(text[start : cue.start()], last=True)


def _within(text: str) -> Iterator[Reach]:
    """Of the prefix non-."""
    for cue in WITHIN.finditer(text):
        yield cue.span(1), [cue[1][:STEM]]


def _forward(text: str, cue: re.Match[str]) -> Reach:
    """Of a cue before what it negates; where nothing follows, its sentence so far may be meant."""
    stop = AFFIRMED.search(text, cue.end())
    end = stop.start() if stop else len(text)
    units = _units(text[cue.end() : end], last=False)
    start = cue.start() if units else _sentence_start(text, cue.start())
    return (start, end), units


def _sentence_start(text: str, at: int) -> int:
    return max((match.end() for match in AFFIRMED.finditer(text, 0, at)), default=0)


def _cut(text: str, spans: list[tuple[int, int]]) -> str:
    """A text without some spans."""
    parts, at = [], 0
    for start, end in sorted(spans):
        parts.append(text[at : max(at, start)])
        at = max(at, end)
    return " ".join([*parts, text[at:]])


def _units(text: str, *, last: bool) -> list[str]:
    """The units next to a cue: the first of what follows it, or the last before it."""
    units: list[str] = []
    clause = text.split(",")[-1 if last else 0]
    parts = [part for part in UNIT.findall(clause) if part not in MEANINGLESS]
    for part in parts[-CERTAIN_WORDS:] if last else parts[:CERTAIN_WORDS]:
        if part.isascii():
            units.append(part[:STEM])
            continue
        kept = EMPTY_CHARACTERS.sub("", part)
        units += _pairs(kept[-CERTAIN_CHARACTERS:] if last else kept[:CERTAIN_CHARACTERS])
        break
    return units


def _all_units(text: str) -> list[str]:
    units: list[str] = []
    for part in UNIT.findall(text):
        if part.isascii():
            units.append(part[:STEM])
        else:
            units += _pairs(EMPTY_CHARACTERS.sub("", part))
    return units


def _pairs(characters: str) -> list[str]:
    if len(characters) == 1:
        return [characters]
    return [characters[i : i + 2] for i in range(len(characters) - 1)]


def opposed(a: Negations, b: Negations) -> tuple[str, str] | None:
    """What one text negates and the other affirms; None when there is nothing."""
    only_a = a.certain & b.affirmed - b.possible
    only_b = b.certain & a.affirmed - a.possible
    if bool(a.cues) == bool(b.cues) and not only_a and not only_b:
        return None
    return (
        " ".join([f"{a.cues} negations", *sorted(only_a)]),
        " ".join([f"{b.cues} negations", *sorted(only_b)]),
    )
