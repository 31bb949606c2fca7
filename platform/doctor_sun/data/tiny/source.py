"""What a data set of the tiny corpus is: samples by index, made anywhere, always the same."""

import zlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from doctor_sun.records import IMAGE_PLACEHOLDER, Turn

Sample = dict[str, Any]


class Source(Protocol):
    """A data set that gives its sample number `index` without making the others.

    It is built once by the driver, which alone may read packages, and sent to the workers.
    """

    @property
    def name(self) -> str:
        """The value of column `source`."""

    @property
    def capacity(self) -> int | None:
        """How many distinct samples it has; None where it can make any number."""

    def sample(self, index: int) -> Sample:
        """Sample number `index`, by the schema of `records`."""


def seed_for(seed: int, stream: str, index: int) -> tuple[int, int, int]:
    """A seed of one item's own: streams of different names never meet."""
    return seed, zlib.crc32(stream.encode()), index


def rng_for(seed: int, stream: str, index: int) -> np.random.Generator:
    """A random generator of one item's own."""
    return np.random.default_rng([*seed_for(seed, stream, index), 0])


def ranked(count: int, seed: int, stream: str) -> list[int]:
    """The numbers below `count` in a random but fixed order."""
    return rng_for(seed, stream, 0).permutation(count).tolist()


def dialogue(exchanges: Sequence[tuple[str, str]], image: bool = False) -> list[Turn]:
    """Turns of user and assistant; the first user turn carries the image where there is one."""
    turns: list[Turn] = []
    for number, (question, answer) in enumerate(exchanges):
        mark = f"{IMAGE_PLACEHOLDER}\n" if image and number == 0 else ""
        turns.append({"role": "user", "text": mark + question})
        turns.append({"role": "assistant", "text": answer})
    return turns
