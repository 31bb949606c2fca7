"""What sources share that read files of any name: instruction text as many sets are shipped."""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from upath import UPath

from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.pieces import pieces
from doctor_sun.data.sources.record import Record
from doctor_sun.data.sources.source import RecordSource, Sample
from doctor_sun.data.sources.turns import language_of
from doctor_sun.errors import InputError
from doctor_sun.records import IMAGE_PLACEHOLDER, Domain, Language, Turn

LONG_LINES = 8  # a line holds a conversation, not a caption


@dataclass(frozen=True, kw_only=True)
class AnyFiles(RecordSource):
    """All files of some kinds below a folder, or one file."""

    pattern: str = "*"
    """Which files are read, by their path below the folder (`*` stands for slashes too)."""

    suffixes: ClassVar[tuple[str, ...]] = (".json", ".jsonl", ".parquet")

    def found(self, root: UPath) -> list[tuple[str, UPath]]:
        """See `RecordSource.found`."""
        if len(self.splits) != 1:
            raise InputError(f"source {self.label} has one split: name what its samples are")
        if root.is_file():
            return [(root.name, root)]
        below = [(str(path.relative_to(root)), path) for path in root.rglob("*")]
        held = sorted(
            (file, path)
            for file, path in below
            if path.suffix in self.suffixes
            and not path.name.startswith(".")
            and fnmatch.fnmatchcase(file, self.pattern)
        )
        if not held:
            kinds = " or ".join(self.suffixes)
            raise InputError(f"source {self.label}: {root} holds no {kinds} file '{self.pattern}'")
        return held

    def cut(self, path: UPath, file: str) -> list[str]:
        """See `RecordSource.cut`."""
        return pieces(path, file, LONG_LINES)


@dataclass(frozen=True, kw_only=True)
class TextFiles(AnyFiles):
    """Such files of conversations whose domain and language the user knows."""

    domain: Domain = "medical"
    """Of the samples."""

    language: Language | None = None
    """Of the samples; none tells it of each conversation by its characters."""

    def pictures(self, root: UPath, file: str) -> Pictures:
        """See `RecordSource.pictures`."""
        return Pictures(root, (".", "images"))

    def conversation(
        self, record: Record, turns: Sequence[Turn], images: Sequence[bytes] = (), key: str = ""
    ) -> Sample:
        """A sample of a conversation, in its language."""
        said = " ".join(turn["text"] for turn in turns).replace(IMAGE_PLACEHOLDER, "")
        return self.sample(
            key or record.place,
            turns,
            images,
            domain=self.domain,
            language=self.language or language_of(said),
            task="vqa" if images else "instruction",
        )
