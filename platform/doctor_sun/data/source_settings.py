"""Settings of a step that are other for some sources: `by_source` of its configuration."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from doctor_sun.config import unknown_key
from doctor_sun.errors import InputError

Config = TypeVar("Config")


def check_by_source(by_source: Mapping[str, Mapping[str, float]], known: Collection[str]) -> None:
    """Raise InputError when a source is given a setting that does not exist."""
    for source, settings in by_source.items():
        for name in settings:
            if name not in known:
                raise InputError(unknown_key(name, sorted(known), f"by_source.{source}"))


def for_source(config: Config, source: str, language: str) -> Config:
    """The configuration that holds for one source and language; the more special setting wins.

    Args:
        config: a dataclass with the field `by_source`.
        source: name of the source.
        language: `zh` or `en`.
    """
    step: Any = config
    changes: dict[str, Any] = {}
    for key in (source, f"{source}/{language}"):
        changes |= step.by_source.get(key, {})
    return replace(step, **changes) if changes else config
