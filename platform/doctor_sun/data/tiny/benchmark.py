"""Held-out questions about phantoms: the tiny preset's benchmark.

Track `anatomy` shows trained cells on anatomies never trained on; track `combination` shows the
cells that were never rendered for training. Every item exists in English and Chinese about the
same picture, and within a kind every answer is equally frequent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from doctor_sun.data.tiny.outlines import Outlines
from doctor_sun.data.tiny.phantom import (
    HELD_OUT_CELLS,
    TRAINED_CELLS,
    Cell,
    Phantom,
    encode,
    render,
)
from doctor_sun.data.tiny.phantom_language import KINDS, Item, Kind, ask
from doctor_sun.data.tiny.source import rng_for, seed_for
from doctor_sun.records import Language, image_key, sha256

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "question", "answer")),
        ("options", pa.list_(pa.string())),
        ("image", pa.binary()),
        *((name, pa.string()) for name in ("image_key", "language", "kind", "finding", "side")),
        *((name, pa.string()) for name in ("zone", "anatomy", "track")),
    ]
)
LANGUAGES: tuple[Language, ...] = ("en", "zh")
HARD = "combination"
ZONED = ("nodule", "consolidation")  # the findings whose zone is not given by their name


@dataclass(frozen=True)
class PhantomBenchmark:
    """Items by number, made from one split's anatomies."""

    outlines: Outlines
    image_size: int
    seed: int
    split: str

    def rows(self, items: int, track: str) -> list[dict[str, Any]]:
        """About `items` items of a track: each kind's share, both languages per picture."""
        pictures = round(items / len(LANGUAGES) / len(KINDS))
        return [
            row
            for kind in KINDS
            for number in range(pictures)
            for row in self._pair(kind, number, track)
        ]

    def _pair(self, kind: Kind, number: int, track: str) -> list[dict[str, Any]]:
        """One picture with one question of a kind, in each language."""
        stream = f"{self.split} {track} {kind}"
        rng = rng_for(self.seed, stream, number)
        cells = _cells_for(kind, number, HELD_OUT_CELLS if track == HARD else TRAINED_CELLS)
        anatomies = self.outlines.of_split(self.split)
        phantom = Phantom(
            cell=cells[rng.integers(len(cells))],
            anatomy=anatomies[rng.integers(len(anatomies))],
            seed=(*seed_for(self.seed, stream, number), 3),
        )
        encoded = encode(render(phantom, self.outlines, self.image_size))
        wording = int(rng.integers(2**31))
        rows = []
        for language in LANGUAGES:
            same = np.random.default_rng(wording)  # the same question in both languages
            item = ask(kind, phantom.cell, language, same, truth=number % 2 == 0)
            rows.append(self._row(phantom, encoded, language, track, item))
        return rows

    def _row(
        self, phantom: Phantom, encoded: bytes, language: Language, track: str, item: Item
    ) -> dict[str, Any]:
        key = image_key(encoded)
        return {
            "id": sha256("phantom benchmark", key, language, item.question),
            "question": item.question,
            "answer": item.answer,
            "options": list(item.options),
            "image": encoded,
            "image_key": key,
            "language": language,
            "kind": item.kind,
            "finding": phantom.cell.finding,
            "side": phantom.cell.side,
            "zone": phantom.cell.zone,
            "anatomy": self.outlines.names[phantom.anatomy],
            "track": track,
        }


def _cells_for(kind: Kind, number: int, cells: Sequence[Cell]) -> list[Cell]:
    """The cells item `number` may show: answers to the kind of question take turns."""
    if kind == "side":
        answers = {cell: cell.side for cell in cells if cell.side}
    elif kind == "zone":
        answers = {cell: cell.zone for cell in cells if cell.finding in ZONED}
    else:
        answers = {cell: cell.finding for cell in cells}
    turn = number // 2 if kind == "yes_no" else number  # yes and no take turns within a finding
    names = list(dict.fromkeys(answers.values()))
    return [cell for cell, answer in answers.items() if answer == names[turn % len(names)]]
