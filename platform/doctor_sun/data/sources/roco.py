"""ROCO and ROCOv2: radiology pictures of PubMed Central and their captions.

ROCO, Pelka et al. 2018 (layout from github.com/razorx89/roco-dataset, its data folder and
scripts/fetch.py): data/{train,validation,test}/{radiology,non-radiology}/captions.txt, a line
`ROCO_00001<TAB> caption`; fetch.py puts ROCO_00001.jpg into images/ beside it (pictures whose
article has gone stay missing: those rows are faulty). licences.txt, keywords.txt, cuis.txt,
semtypes.txt and dlinks.txt stand there too and are not read.

ROCOv2, Rueckert et al. 2024 (Zenodo 10821435): {train,valid,test}_captions.csv with ID and Caption;
pictures ID.jpg in {train,valid,test}/, {train,...}_images/ or {train,...}_images.zip.
"""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from upath import UPath

from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Record
from doctor_sun.data.sources.source import Card, RecordSource, Sample
from doctor_sun.data.sources.turns import caption

SPLITS = ("train", "validation", "test")


def _places(kind: str) -> dict[str, tuple[str, ...]]:
    return {
        split: tuple(f"{base}{split}/{kind}/captions.txt" for base in ("data/", "", "all_data/"))
        for split in SPLITS
    }


@dataclass(frozen=True, kw_only=True)
class Roco(RecordSource):
    """Pictures and captions of the first version."""

    card = Card(
        kind="roco",
        title="ROCO",
        domain="medical",
        languages=("en",),
        task="caption",
        rows={"train": 65_448, "validation": 8_180, "test": 8_179},
        layout="data/train/radiology/captions.txt with images/ beside it; likewise others",
        where="https://github.com/razorx89/roco-dataset (scripts/fetch.py gets the pictures)",
        licence="Creative Commons, by picture (licences.txt)",
    )
    files: ClassVar = _places("radiology")

    def pictures(self, root: UPath, file: str) -> Pictures:
        """See `RecordSource.pictures`."""
        return Pictures(root / posixpath.dirname(file), ("images", "images.zip/images"))

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        key, text = record.line("\t", 2)
        turns = caption(text, key, "en")
        picture = pictures.read(f"{key}.jpg", key)
        yield self.sample(key, turns, [picture], split=self.split_of(record.file))


@dataclass(frozen=True, kw_only=True)
class RocoNonRadiology(Roco):
    """The pictures of the first version that are not radiology."""

    card = Card(
        kind="roco_non_radiology",
        title="ROCO, out of class",
        domain="medical",
        languages=("en",),
        task="caption",
        rows={"train": 4_895, "validation": 611, "test": 612},
        layout="data/train/non-radiology/captions.txt with images/ beside it",
        where=Roco.card.where,
        licence=Roco.card.licence,
    )
    files: ClassVar = _places("non-radiology")


@dataclass(frozen=True, kw_only=True)
class RocoV2(RecordSource):
    """Pictures and captions of the second version."""

    card = Card(
        kind="roco_v2",
        title="ROCOv2",
        domain="medical",
        languages=("en",),
        task="caption",
        rows={"train": 59_958, "validation": 9_904, "test": 9_927},
        layout="train_captions.csv (ID, Caption) with train/, train_images/ or train_images.zip",
        where="https://zenodo.org/records/10821435",
        licence="CC BY 4.0",
    )
    files: ClassVar = {
        "train": ("train_captions.csv",),
        "validation": ("valid_captions.csv",),
        "test": ("test_captions.csv",),
    }

    def pictures(self, root: UPath, file: str) -> Pictures:
        """See `RecordSource.pictures`."""
        name = file.removesuffix("_captions.csv")
        zips = (f"{name}_images.zip/{name}", f"{name}_images.zip", f"{name}.zip/{name}")
        return Pictures(root, (name, f"{name}_images/{name}", f"{name}_images", *zips))

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        key = record.text("ID")
        turns = caption(record.text("Caption"), key, "en")
        picture = pictures.read(f"{key}.jpg", key)
        yield self.sample(key, turns, [picture], split=self.split_of(record.file))


SOURCES = (Roco, RocoNonRadiology, RocoV2)
