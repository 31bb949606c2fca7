"""What a source is: a data set as its publisher ships it, cut into pieces, read as samples.

A piece ("shard") is small enough to be read by one task and is read twice: once to be checked, once
to be written. It therefore gives the same rows in the same order every time. What cannot be a
sample is a `Fault`: it goes to the ledger, and never stops a job by itself.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from upath import UPath

from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.pieces import bounds_of, pieces, records
from doctor_sun.data.sources.record import Broken, Record, base_of, find, matches
from doctor_sun.errors import InputError
from doctor_sun.records import Domain, Language, Task, Turn, make_sample

Sample = dict[str, Any]
"""A row by `records.SCHEMA` whose `image_keys` are still to be filled in. It may hold one key more,
`review`: why a person should look at it."""


@dataclass(frozen=True)
class Fault:
    """A row that cannot be a sample."""

    key: str
    """What the publisher calls the row, else where it stands."""

    reason: str
    """Never holds text of the row."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known of a published data set."""

    kind: str
    """Its name in configuration, and in column `source` unless another is given."""

    title: str
    domain: Domain
    languages: tuple[Language, ...]
    task: Task

    rows: Mapping[str, int] = field(default_factory=dict)
    """Number of samples by split, as the publisher states or ships it; rounded where the publisher
    rounds."""

    layout: str
    """What must stand in the folder."""

    where: str
    """Where the publisher offers it."""

    licence: str
    """"none stated" where none was found. It stays the user's duty to check it."""


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """A data set to be read. Its fields are the options that a configuration may set."""

    card: ClassVar[Card]

    name: str = ""
    """Column `source` of the samples; empty takes the card's kind."""

    splits: tuple[str, ...] = ("train",)
    """The publisher's splits that are read."""

    @property
    def label(self) -> str:
        """The value of column `source`."""
        return self.name or self.card.kind

    @abstractmethod
    def shards(self, root: UPath) -> list[str]:
        """The pieces that can be read independently, in a fixed order.

        Raises:
            InputError: the folder does not hold what the card's layout says.
        """

    @abstractmethod
    def read(self, root: UPath, shard: str) -> Iterator[tuple[int, Sample | Fault]]:
        """The rows of one piece, numbered from 1."""


@dataclass(frozen=True, kw_only=True)
class RecordSource(Source):
    """A source whose samples are made from the records of JSON, CSV, text or Parquet files."""

    files: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """By split: the files' possible places, the first that exists is taken. Only the last part of
    a place may hold wildcards: a folder of two million pictures is never listed."""

    unique_keys: ClassVar[bool] = True
    """Whether two rows of a piece with the same key are a fault."""

    @abstractmethod
    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """What a record gives: usually one sample, none when it is of another split.

        Raises:
            Broken: it cannot be used.
        """

    def pictures(self, root: UPath, file: str) -> Pictures:
        """Where the pictures of a file's records are."""
        return Pictures(root, ())

    def found(self, root: UPath) -> list[tuple[str, UPath]]:
        """The files to read, by their place in the folder, those of each split in turn.

        Raises:
            InputError: a split has none.
        """
        result = []
        for split in self.splits:
            if split not in self.files:
                known = ", ".join(self.files)
                raise InputError(f"source {self.label} has no split '{split}'; it has {known}")
            held = find(root, *self.files[split])
            if not held:
                raise InputError(
                    f"source {self.label}: {root} holds no file of split '{split}'; "
                    f"expected is {self.card.layout}"
                )
            result += held
        return list(dict(result).items())

    def shards(self, root: UPath) -> list[str]:
        """See `Source.shards`."""
        return [piece for file, path in self.found(root) for piece in self.cut(path, file)]

    def cut(self, path: UPath, file: str) -> list[str]:
        """The pieces of a file."""
        return pieces(path, file)

    def records(self, root: UPath, shard: str) -> Iterator[Record]:
        """The records of a piece."""
        return records(root, shard)

    def read(self, root: UPath, shard: str) -> Iterator[tuple[int, Sample | Fault]]:
        """See `Source.read`."""
        yield from enumerate(self._rows(base_of(root), shard), 1)

    def _rows(self, root: UPath, shard: str) -> Iterator[Sample | Fault]:
        pictures = self.pictures(root, bounds_of(shard)[0])
        keys: set[str] = set()
        for record in self.records(root, shard):
            try:
                made = list(self.samples(record, pictures))
            except Broken as broken:
                yield Fault(broken.key or record.place, str(broken))
                continue
            for sample in made:
                key = sample["source_key"]
                repeated = self.unique_keys and key in keys
                yield Fault(key, "repeated key") if repeated else sample
                keys.add(key)

    def sample(
        self,
        key: str,
        turns: Sequence[Turn],
        images: Sequence[bytes] = (),
        *,
        split: str = "",
        language: Language | None = None,
        task: Task | None = None,
        domain: Domain | None = None,
        parents: Sequence[str] = (),
    ) -> Sample:
        """A sample of this source; what is not given is as its card says.

        Raises:
            Broken: the conversation and the pictures do not fit together.
        """
        try:
            return make_sample(
                source=self.label,
                source_key=key,
                domain=domain or self.card.domain,
                language=language or self.card.languages[0],
                task=task or self.card.task,
                turns=turns,
                images=images,
                split=split or self.splits[0],
                parents=parents,
                decode=False,
            )
        except ValueError as error:
            raise Broken(str(error), key) from None

    def split_of(self, file: str) -> str:
        """The split that a file belongs to."""
        for split in self.splits:
            if any(matches(file, place) for place in self.files[split]):
                return split
        raise KeyError(file)
