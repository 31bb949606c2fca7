"""A conversation as the texts to translate and the places where their translations go.

What must not change is never sent: `<image>` marks, the letters of answer options, white space,
numbers alone. An answer that repeats an option is the same text as the option, so that both have
the same translation.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from doctor_sun.records import IMAGE_PLACEHOLDER, Turn

Piece = str | int
"""A text that stays, or the number of a segment."""

LABEL = re.compile(r"(?:(?<=\s)|(?<=[;,])|^)(?:\(([A-J])\)|([A-J])\s?[.:)])\s*")
ANSWER = re.compile(r"\s*(?:\(([A-J])\)|([A-J])(?![\w'-]))\s?[.:)]?\s*")
LETTER = re.compile(r"[^\W\d_]")
EDGES = re.compile(r"^(\s*)(.*?)([\s;,]*)$", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What is translated of a conversation, and where it goes."""

    segments: Sequence[str]
    """Different texts in order of appearance."""
    turns: Sequence[tuple[str, Sequence[Piece]]]
    """Role and pieces of each turn."""
    options: Sequence[Sequence[int]]
    """Segments that are the options of one question."""

    def rebuild(self, translations: Sequence[str]) -> list[Turn]:
        """The conversation with each segment's translation in its place."""
        laid = []
        for role, pieces in self.turns:
            text = "".join(p if isinstance(p, str) else translations[p] for p in pieces)
            laid.append(Turn(role=role, text=text))  # type: ignore[typeddict-item]
        return laid


class _Segments:
    """The different texts seen so far."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def pieces(self, text: str) -> list[Piece]:
        """A text between marks, its edges kept as they are."""
        before, core, after = EDGES.match(text).groups()  # type: ignore[union-attr]
        if not LETTER.search(core):
            return [text] if text else []
        kept = [before, self.numbers.setdefault(core, len(self.numbers)), after]
        return [piece for piece in kept if piece != ""]


def layout(turns: Sequence[Mapping[str, str]]) -> Layout:
    """Take a conversation apart."""
    segments = _Segments()
    laid: list[tuple[str, list[Piece]]] = []
    options: list[list[int]] = []
    labelled: dict[str, list[Piece]] = {}
    for turn in turns:
        answer = None
        if turn["role"] == "assistant" and labelled:
            answer = _chosen(turn["text"], labelled, list(segments.numbers))
        if answer is not None:
            laid.append((turn["role"], answer))
            continue
        pieces: list[Piece] = []
        for part in re.split(f"({IMAGE_PLACEHOLDER})", turn["text"]):
            if part == IMAGE_PLACEHOLDER:
                pieces.append(part)
                continue
            found, here = _with_options(part, segments)
            pieces += found
            if here:
                labelled = here
                options.append([p for own in here.values() for p in own if isinstance(p, int)])
        laid.append((turn["role"], pieces))
    return Layout(segments=list(segments.numbers), turns=laid, options=options)


def _with_options(text: str, segments: _Segments) -> tuple[list[Piece], dict[str, list[Piece]]]:
    """The pieces of a text, and those of each answer option by letter."""
    labels: list[re.Match[str]] = []
    for match in LABEL.finditer(text):
        if _letter(match) == "ABCDEFGHIJ"[len(labels) : len(labels) + 1]:
            labels.append(match)
    if len(labels) < 2:
        return segments.pieces(text), {}
    pieces = segments.pieces(text[: labels[0].start()])
    options: dict[str, list[Piece]] = {}
    ends = [label.start() for label in labels[1:]] + [len(text)]
    for label, end in zip(labels, ends, strict=True):
        own = segments.pieces(text[label.end() : end])
        options[_letter(label)] = own
        pieces += [label[0], *own]
    return pieces, options


def _letter(label: re.Match[str]) -> str:
    return str(label[1] or label[2])


def _plain(text: str) -> str:
    return text.strip(" \t\n;,.").casefold()


def _chosen(
    text: str, options: Mapping[str, Sequence[Piece]], segments: Sequence[str]
) -> list[Piece] | None:
    """The pieces of an answer that is an option: its letter, its text or both; else None."""
    label = ANSWER.match(text)
    by_letter = options.get(_letter(label)) if label else None
    if label and by_letter is not None:
        rest = text[label.end() :]
        if not rest.strip():
            return [text]
        if _plain(rest) == _said(by_letter, segments):
            return [label[0], *_core(by_letter)]
    for own in options.values():
        if _plain(text) == _said(own, segments):
            return _core(own)
    return None


def _said(pieces: Sequence[Piece], segments: Sequence[str]) -> str:
    return _plain("".join(p if isinstance(p, str) else segments[p] for p in pieces))


def _core(pieces: Sequence[Piece]) -> list[Piece]:
    """An option's pieces without what parts it from the next."""
    last = pieces[-1] if pieces else ""
    trimmed = last.rstrip(" \t\n;,") if isinstance(last, str) else last
    return [*pieces[:-1], *([trimmed] if trimmed != "" else [])]
