"""Bunny-Pretrain and Bunny-Finetune: LAION-2B pairs, and Bunny-695K (general visual instruction).

He et al. 2024 (github.com/BAAI-DCAI/Bunny; layout from its README, training scripts and
bunny/util/data_utils.py): pretrain/bunny_pretrain_laion_2m.json and finetune/bunny_695k.json, each
an array of {"id", "image", "conversations": [{"from": "human"|"gpt", "value"}]} with `<image>` in
the turn that shows the picture; no "image" where there is none. Pictures below images/ beside the
file, unpacked from images.tar.gz (shipped in parts: `cat images.tar.gz.part-* | tar xz`). Ids
repeat (several conversations on one picture), so a row's place in the file is part of its key.
A row is faulty when its picture is missing or its marks and turns do not fit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from upath import UPath

from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Broken, Record
from doctor_sun.data.sources.source import Card, RecordSource, Sample
from doctor_sun.data.sources.turns import chat

WHERE = "hf.co/datasets/BoyaWu10/Bunny-v1_0-data (v1_1 adds files); modelscope.cn likewise"
LICENCE = "of the data sets it is made of (LAION, COCO, Visual Genome, ...)"


def said_in(record: Record, field: str, role: str, text: str) -> list[tuple[str, str]]:
    """The (role, text) pairs of a chat field, whatever the dialect calls them.

    Raises:
        Broken: it is no list of objects with these two texts.
    """
    turns = record.fields.get(field)
    if not isinstance(turns, list):
        raise Broken(f"field '{field}' is not a list of turns")
    pairs: list[tuple[str, str]] = []
    for turn in turns:
        said = (turn.get(role), turn.get(text)) if isinstance(turn, dict) else (None, None)
        if not (isinstance(said[0], str) and isinstance(said[1], str)):
            raise Broken(f"field '{field}' holds a malformed turn")
        pairs.append((said[0], said[1]))
    return pairs


@dataclass(frozen=True, kw_only=True)
class Bunny(RecordSource):
    """What both files share."""

    def pictures(self, root: UPath, file: str) -> Pictures:
        """See `RecordSource.pictures`."""
        folder = file.rpartition("/")[0]
        return Pictures(root / folder if folder else root, ("images",))

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        key = f"{record.text('id', 'row')}@{record.at}"
        named = record.fields.get("image") or []
        names = [named] if isinstance(named, str) else named
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise Broken("field 'image' names no picture", key)
        turns = chat(said_in(record, "conversations", "from", "value"), len(names), key)
        images = [pictures.read(name, key) for name in names]
        yield self.sample(key, turns, images, task=None if images else "instruction")


@dataclass(frozen=True, kw_only=True)
class BunnyPretrain(Bunny):
    """Two million general pictures and their captions."""

    card = Card(
        kind="bunny_pretrain",
        title="Bunny-Pretrain",
        domain="general",
        languages=("en",),
        task="caption",
        rows={"train": 2_000_000},
        layout="pretrain/bunny_pretrain_laion_2m.json with pretrain/images/",
        where=WHERE,
        licence=LICENCE,
    )
    files: ClassVar = {
        "train": ("pretrain/bunny_pretrain_laion_2m.json", "bunny_pretrain_laion_2m.json")
    }


@dataclass(frozen=True, kw_only=True)
class BunnyFinetune(Bunny):
    """General visual instructions; some rows have no picture."""

    card = Card(
        kind="bunny_finetune",
        title="Bunny-Finetune",
        domain="general",
        languages=("en",),
        task="vqa",
        rows={"train": 695_000},
        layout="finetune/bunny_695k.json with finetune/images/",
        where=WHERE,
        licence=LICENCE,
    )
    files: ClassVar = {"train": ("finetune/bunny_695k.json", "bunny_695k.json")}


SOURCES = (BunnyPretrain, BunnyFinetune)
