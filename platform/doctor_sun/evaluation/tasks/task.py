"""What a benchmark is to the rest of the evaluation: its items, its scoring family, its cuts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from doctor_sun.evaluation.scoring import Family


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question of a benchmark."""

    id: str
    """Unique in the benchmark."""

    question: str
    """What is asked; the prompt is the image, then this text, as in training."""

    answer: str
    """The gold answer."""

    options: tuple[str, ...] = ()
    """The texts to choose from, in order; empty for other questions."""

    image: bytes | None = None
    """The encoded image (PNG, JPEG); None for a text question."""

    image_key: str = ""
    """sha256 of the decoded pixels: questions of one image are one cluster."""

    truth: str = ""
    """What the image shows; the shuffled-image control lends images of another truth."""

    groups: Mapping[str, str] = field(default_factory=dict)
    """What results are broken down by: language, question kind, ..."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A benchmark: one file in this folder makes one."""

    name: str
    """The name on the command line."""

    family: Family
    """Which scorers read its answers."""

    load: Callable[[str], list[Item]] | None = None
    """Reads the publisher's files; None for a task whose predictions are made elsewhere."""

    headline: str = "accuracy"
    """The metric that model, control and majority are compared by (of the corrected scoring)."""

    control_within: tuple[str, ...] = ()
    """Groups that the shuffled-image control and the majority keep equal."""

    sections: str = ""
    """A group whose values are reported apart and never pooled; empty for one section."""

    breakdown: tuple[str, ...] = ()
    """Groups whose combinations get a line of their own."""
