"""Which sources there are, and how a configuration opens one.

Another data set is another file here with its `SOURCES`, and its line below.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from jsonargparse import ArgumentParser
from upath import UPath

from doctor_sun.config import unknown_key
from doctor_sun.data.sources import (
    alpaca,
    bunny,
    cmedqa,
    conversations,
    dicom,
    huatuo,
    path_vqa,
    pmc_oa,
    pmc_vqa,
    roco,
    samples,
    slake,
    table,
    vqa_med,
    vqa_rad,
)
from doctor_sun.data.sources.source import Fault, Sample, Source
from doctor_sun.errors import InputError

MODULES = (
    *(bunny, pmc_oa, roco, vqa_med, pmc_vqa),
    *(vqa_rad, slake, path_vqa),
    *(alpaca, conversations, huatuo, cmedqa, table, dicom, samples),
)
SOURCES: Mapping[str, type[Source]] = {
    kind.card.kind: kind for module in MODULES for kind in module.SOURCES
}


@dataclass(kw_only=True)
class SourceConfig:
    """A data set to be read."""

    kind: str
    """What it is (`python -m doctor_sun.data.sources` lists the kinds and their options)."""

    path: str
    """Folder (local path or URI) with the files as their publisher ships them; `zip://::FILE`
    reads a zip without unpacking it."""

    name: str = ""
    """Column `source` of its samples; empty takes the kind. Needed where a kind is read twice."""

    splits: list[str] = field(default_factory=lambda: ["train"])
    """The publisher's splits that are read; test splits of benchmarks are not to be had here."""

    pieces: int | None = None
    """Read only the first so many pieces (of about two thousand rows), for a trial."""

    options: dict[str, Any] = field(default_factory=dict)
    """What else the kind lets choose."""


@dataclass(frozen=True, kw_only=True)
class OpenSource:
    """A source at its place."""

    source: Source
    path: str
    pieces: int | None = None

    @property
    def name(self) -> str:
        """Column `source` of its samples."""
        return self.source.label

    def shards(self) -> list[str]:
        """See `Source.shards`."""
        return self.source.shards(UPath(self.path))[: self.pieces]

    def read(self, shard: str) -> Iterator[tuple[int, Sample | Fault]]:
        """See `Source.read`."""
        return self.source.read(UPath(self.path), shard)


def options_of(kind: type[Source]) -> list[str]:
    """The options that a kind takes besides its name and splits."""
    return [option.name for option in fields(kind) if option.name not in ("name", "splits")]


def open_source(config: SourceConfig) -> OpenSource:
    """The source that a configuration names.

    Raises:
        InputError: an unknown kind or option, an option's value of the wrong type, or no such
            folder.
    """
    if config.kind not in SOURCES:
        raise InputError(unknown_key(config.kind, list(SOURCES), "sources.kind"))
    kind = SOURCES[config.kind]
    for option in config.options:
        if option not in options_of(kind):
            known = ", ".join(options_of(kind)) or "no options"
            where = f"sources.options of kind {config.kind}, which takes {known}"
            raise InputError(unknown_key(option, options_of(kind), where))
    if not UPath(config.path).exists():
        raise InputError(f"source {config.name or config.kind}: {config.path} does not exist")
    if config.pieces is not None and config.pieces < 1:
        raise InputError("sources.pieces must be at least 1")
    given = {"name": config.name, "splits": config.splits, **config.options}
    return OpenSource(source=_made(kind, given), path=config.path, pieces=config.pieces)


def _made(kind: type[Source], given: Mapping[str, Any]) -> Source:
    """A source from plain values, their types checked.

    Raises:
        InputError: one has the wrong type.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, fail_untyped=False)
    try:
        values = parser.parse_object(dict(given))
    except Exception as error:  # jsonargparse raises its own and argparse's errors
        line = " ".join(str(error).split())
        raise InputError(f"sources.options of kind {kind.card.kind}: {line}") from None
    return kind(**vars(parser.instantiate_classes(values)))
