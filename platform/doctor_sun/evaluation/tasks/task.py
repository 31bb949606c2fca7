"""What a benchmark is to the rest of the evaluation: its questions, prompts, scorers and cuts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from upath import UPath

from doctor_sun.data.benchmarks.item import Benchmark, BenchmarkItem
from doctor_sun.errors import InputError
from doctor_sun.evaluation.scoring import SCORINGS, Scorer, Scoring
from doctor_sun.records import image_key

Prompts = Literal["published", "plain"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question of a benchmark, as a model is asked it."""

    id: str
    """Unique in the benchmark."""

    question: str
    """The question alone."""

    answer: str
    """The gold answer, as `scoring.Row.answer`."""

    prompt: str = ""
    """What is sent after the image; empty sends the question."""

    shots: tuple[tuple[str, str], ...] = ()
    """Worked examples (prompt, answer), sent as earlier turns."""

    options: Mapping[str, str] = field(default_factory=dict)
    """The texts to choose from by their letters; empty for other questions."""

    image: bytes | None = None
    """The encoded image (PNG, JPEG); None for a text question."""

    image_key: str = ""
    """sha256 of the decoded pixels: questions of one image are one cluster."""

    pictured: bool = False
    """Whether the publisher asks it about a picture, be its file there or not."""

    truth: str = ""
    """What the image shows; the shuffled-image control lends images of another truth."""

    groups: Mapping[str, str] = field(default_factory=dict)
    """What results are broken down by: language, question kind, ..."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A benchmark: a file in this folder makes one, or one a language."""

    name: str
    """The name on the command line."""

    title: str
    """The name in tables."""

    benchmark: str = ""
    """The benchmark's name in decontamination (`data/benchmarks`), where it is another."""

    source: str
    """Where the publisher offers it."""

    split: str
    """The release, and which of its questions are asked."""

    items: str
    """How many these are in the published release."""

    prompt: str
    """What is sent, in the published form, fields in braces."""

    published_by: str
    """Whose scoring `published` is, with the version."""

    load: Callable[[UPath, Prompts], Iterable[Item]]
    """Reads the publisher's files; raises InputError naming file and record."""

    published: Scorer
    corrected: Scorer

    metrics: Mapping[Scoring, tuple[str, ...]] = field(
        default_factory=lambda: dict.fromkeys(SCORINGS, ("accuracy",))
    )
    """Names of the metrics of either scoring, in the order of tables."""

    headline: str = "accuracy"
    """The metric that model, control and majority are compared by (of the corrected scoring)."""

    together: str = ""
    """A group whose rows count as one question, right only when all of them are (`accuracy`)."""

    macro: Mapping[str, str] = field(default_factory=dict)
    """Metric to the group whose values weigh alike in it, however many items each has."""

    control_within: tuple[str, ...] = ("language",)
    """Groups that the shuffled-image control and the majority keep equal."""

    sections: str = ""
    """A group whose values are compared apart, each with its control; empty for one section."""

    cuts: tuple[tuple[str, ...], ...] = ()
    """Groups, alone or combined, whose values get a line of their own."""

    majority: bool = True
    """Whether a most frequent answer says anything; not for programs."""

    max_tokens: int = 512
    """Longest answer, in tokens, where the configuration gives none; the paper's own script has
    512."""

    def scorer(self, scoring: Scoring) -> Scorer:
        """The scorer of that name."""
        return self.published if scoring == "published" else self.corrected


def item_of(benchmark: Benchmark, item: BenchmarkItem, prompt: str, answer: str) -> Item:
    """A publisher's question with its prompt and the gold answer as the scorers want it.

    Raises:
        InputError: its picture cannot be read.
    """
    try:
        key = image_key(item.image) if item.image else ""
    except OSError:
        raise InputError(f"{benchmark.name}, item {item.id}: its picture cannot be read") from None
    return Item(
        id=f"{benchmark.name}/{item.id}",
        question=item.question,
        answer=answer,
        prompt=prompt,
        options=item.keyed_options,
        image=item.image,
        image_key=key,
        pictured=bool(item.image_name),
        groups={"language": item.language, **item.groups},
    )
