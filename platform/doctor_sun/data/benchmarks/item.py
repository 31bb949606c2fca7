"""One question of a benchmark, and what a benchmark is: a name, its files, a reader of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from upath import UPath

from doctor_sun.records import Language


@dataclass(frozen=True, kw_only=True)
class BenchmarkItem:
    """One held-out question as its publisher ships it."""

    id: str
    """Unique in the benchmark."""

    language: Language
    """Of the question."""

    question: str
    """What is asked, without the options."""

    answer: str = ""
    """The gold answer in words (the text of the right option); empty where it is not published."""

    options: tuple[str, ...] = ()
    """The texts to choose from, without their letters."""

    letters: str = ""
    """The options' letters where these are not A, B, C and so on."""

    keys: str = ""
    """The letters of the right options ("B", "ACD"); empty for other questions."""

    context: str = ""
    """What is shown with the question and is no part of it: an abstract, a hint."""

    checks: tuple[str, ...] = ()
    """Of a programming problem: the assertions that an answer has to pass."""

    image_name: str = ""
    """What the publisher calls the item's picture; empty for a question without one."""

    image: bytes | None = None
    """The encoded picture; None where there is none or its file is missing."""

    groups: Mapping[str, str] = field(default_factory=dict)
    """What the publisher sorts its items by: answer type, subject, ..."""

    @property
    def keyed_options(self) -> dict[str, str]:
        """The options by their letters."""
        if self.letters:
            return dict(zip(self.letters, self.options, strict=True))
        return lettered(self.options)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A held-out set that a model is scored on."""

    name: str
    """Its name in configuration."""

    version: str
    """Which release the reader expects, and which of its splits count as held out."""

    layout: str
    """The files that must stand in the folder, and the fields that are read."""

    source: str
    """Where the publisher offers it."""

    load: Callable[[UPath], Iterator[BenchmarkItem]]
    """Reads the files in a folder, in their order; raises InputError naming file and record."""


def lettered(options: Sequence[str]) -> dict[str, str]:
    """Options by their letters, A for the first."""
    return {chr(ord("A") + place): text for place, text in enumerate(options)}
