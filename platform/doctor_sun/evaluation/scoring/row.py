"""What a scorer reads and what it says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Scoring = Literal["published", "corrected"]
SCORINGS: tuple[Scoring, ...] = ("published", "corrected")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One answered question."""

    answer: str
    """The gold answer: words; of a question with options its key or its text, several keys where
    several options are right ("AC"); of a programming problem the assertions."""

    prediction: str
    """What the model said, without blanks around it."""

    options: Mapping[str, str] = field(default_factory=dict)
    """The options' texts by their keys (A, B, ...); empty for other questions."""

    groups: Mapping[str, str] = field(default_factory=dict)
    """What the publisher sorts the question by."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One answer's metrics, and whether an answer could be read at all.

    A metric that does not apply to the row (an open metric of a closed question) is absent.
    """

    metrics: Mapping[str, float]
    parsed: bool


Scorer = Callable[[Row], Score]


def hit(right: bool, parsed: bool) -> Score:
    """The score of a question that is right or wrong."""
    return Score(metrics={"accuracy": float(right)}, parsed=parsed)
