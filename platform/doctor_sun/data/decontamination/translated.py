"""Held-out items in the other language: by sentence vectors, always for review.

A row is compared with the long items of the other language. Cosines of one encoder are not
comparable between texts, so the best item must also stand out from the next ones (the margin of
Artetxe and Schwenk 2019), and every number of its question must stand in the row. Even so a
multilingual encoder takes another statement for the translation now and then: a person decides.
With multilingual-e5-small, thresholds as below: of 100 case questions made from one disease table
in two languages 82 % are found (94 % rank first); of 58 cases of other diseases 5 % are taken for
one, of 200 general Chinese instructions none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray

from doctor_sun.data.decontamination.items import HeldOutItem
from doctor_sun.data.decontamination.text import TextIndex
from doctor_sun.data.embeddings import Encoder, EncoderConfig, embed, encoder_actors
from doctor_sun.data.packaged_encoder import encoder_folder
from doctor_sun.data.rows import Row
from doctor_sun.data.text_form import normalised
from doctor_sun.records import text_of

NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(kw_only=True)
class TranslatedConfig:
    """When a row counts as a translation of an item."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """A multilingual sentence encoder."""

    cosine: float = 0.85
    """Smallest cosine of row and item; e5 puts unrelated texts at 0.76 to 0.81."""

    margin: float = 0.01
    """How much the item's cosine must exceed the mean of the next nearest ones."""

    neighbours: int = 4
    """How many next nearest items that is."""


def with_translated(
    rows: ray.data.Dataset,
    items: Sequence[HeldOutItem],
    text: TextIndex,
    config: TranslatedConfig,
) -> ray.data.Dataset:
    """The rows with the columns translated_item (number of an item, or null) and translated_cosine.

    Args:
        rows: thin rows.
        items: all held-out items; only those whose question counts alone are looked for.
        text: says which these are.
        config: encoder and thresholds.
    """
    chosen = np.flatnonzero(text.long)
    folder = config.encoder.folder or str(encoder_folder())
    vectors = embed([items[item].question for item in chosen], config.encoder, folder)
    return rows.map_batches(
        TranslationSearch,
        fn_constructor_kwargs={
            "folder": folder,
            "config": config,
            "numbers": chosen,
            "vectors": ray.put(vectors),
            "languages": [items[item].language for item in chosen],
            "figures": [figures_in(items[item].question) for item in chosen],
        },
        **encoder_actors(config.encoder),
    )


def figures_in(text: str) -> frozenset[str]:
    """The numbers that stand in a text."""
    return frozenset(NUMBER.findall(normalised(text)))


def asked(row: Row) -> str:
    """What of a row is compared: what the user says, all of it where the user says nothing."""
    said = text_of([turn for turn in row["turns"] if turn["role"] == "user"]).strip()
    return said or text_of(row["turns"])


class TranslationSearch:
    """Encodes rows and finds the item that each may be a translation of."""

    def __init__(
        self,
        folder: str,
        config: TranslatedConfig,
        numbers: NDArray[np.int64],
        vectors: ray.ObjectRef,
        languages: Sequence[str],
        figures: Sequence[frozenset[str]],
    ) -> None:
        self.encoder = Encoder(folder, config.encoder)
        self.config = config
        self.numbers = numbers
        self.vectors: NDArray[np.float32] = ray.get(vectors)
        self.languages = np.asarray(languages, dtype=object)
        self.figures = figures

    def __call__(self, table: pa.Table) -> pa.Table:
        """Add the two columns."""
        found: list[int | None] = [None] * table.num_rows
        cosines: list[float | None] = [None] * table.num_rows
        lines = table.select(["language", "turns"]).to_pylist()
        for language, other in (("en", "zh"), ("zh", "en")):
            items = np.flatnonzero(self.languages == other)
            rows = [row for row, line in enumerate(lines) if line["language"] == language]
            if not len(items) or not rows:
                continue
            texts = [asked(lines[row]) for row in rows]
            scores = self.encoder.encode(texts) @ self.vectors[items].T
            for row, said, score in zip(rows, texts, scores, strict=True):
                best = stands_out(score, self.config)
                if best is not None and self.figures[items[best]] <= figures_in(said):
                    found[row] = int(self.numbers[items[best]])
                    cosines[row] = float(score[best])
        table = table.append_column("translated_item", pa.array(found, pa.int64()))
        return table.append_column("translated_cosine", pa.array(cosines, pa.float64()))


def stands_out(score: NDArray[np.float32], config: TranslatedConfig) -> int | None:
    """The item that a row is near and nearer than to others, None where there is none.

    Args:
        score: [items] cosines of the row.
        config: the thresholds.
    """
    best = int(score.argmax())
    near = np.sort(score)[-1 - config.neighbours : -1]
    margin = float(score[best] - near.mean()) if len(near) else 1.0
    return best if score[best] >= config.cosine and margin >= config.margin else None
