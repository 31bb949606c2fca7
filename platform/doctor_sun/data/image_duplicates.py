"""Rows that show the same or nearly the same picture, and captions that stand under many pictures.

| picture | text | verdict |
|---|---|---|
| same | same | none here: an exact duplicate, dropped by that step |
| same | another question | kept; a `train` row is dropped when a held-out row shows the picture |
| another | same caption | at most `same_caption` rows are kept |
| nearly the same, mirrored, cropped | same but for the side | review, never dropped |

Same means equal pixels or an equal file. Nearly means few bits between perceptual hashes, which
alone proves nothing (radiographs of different patients are close to one another), so pictures are
compared only where the texts agree. Rows are shuffled by their text; a task holds one partition,
the driver holds the keys of held-out pictures.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
from upath import UPath

from doctor_sun.data.ledger import LINES, Decision, StepResult, Verdict
from doctor_sun.data.near_pictures import NearPicture, Pictures, near_pictures
from doctor_sun.data.rows import FINGERPRINTS, Row, collect, lines_of
from doctor_sun.data.text_form import conversations, normalised
from doctor_sun.errors import InputError
from doctor_sun.records import IMAGE_PLACEHOLDER

HELD_OUT = pa.schema([("key", pa.string()), ("id", pa.string())])
SHOWN = pa.schema(
    [
        *((name, LINES.field(name).type) for name in ("part", "id", "source")),
        ("caption", pa.bool_()),
        ("train", pa.bool_()),
        ("priority", pa.int32()),  # of the source; the smallest is kept
        ("length", pa.int64()),  # characters
        ("text", pa.string()),  # MD5 of what is said about the pictures
        ("group", pa.string()),  # MD5 of it without sides
        ("bucket", pa.uint16()),  # the group's first bytes: what the shuffle partitions by
        ("held_out", pa.string()),  # id of the held-out row that shows its picture, else null
        ("image_keys", pa.list_(pa.string())),
        ("fingerprints", FINGERPRINTS),
    ]
)
BEST_FIRST = [
    *(("group", "ascending"), ("priority", "ascending")),
    *(("length", "descending"), ("id", "ascending")),
]
SIDES = re.compile(r"\b(?:left|right)\b|[左右]")
HELD_OUT_PICTURE = "image stands in another split"
REASONS = {
    "near": "nearly the same picture, texts agree",
    "mirrored": "mirrored picture, texts agree",
    "changed": "perhaps the same picture cropped or changed, texts agree",
}


@dataclass(kw_only=True)
class ImageDuplicatesConfig:
    """What happens to pictures that several rows show."""

    same_caption: int = 10
    """Most `train` rows of task `caption` that have one answer; the others are dropped. 0 keeps
    all."""

    near_bits: int = 4
    """Bits (of 64) that two perceptual hashes may differ in to be of nearly the same picture. At
    10, a quarter of the pairs of radiographs of different patients would be."""

    cropped_bits: int = 10
    """As `near_bits`, for pictures with the same caption, which are then perhaps crops."""

    most_compared: int = 20_000
    """Rows with one text whose pictures are compared with one another, best ranked first."""

    source_priority: list[str] = field(default_factory=list)
    """Sources by falling priority; then the longer text, then the smaller id is kept."""

    partitions: int = 16
    """Hash partitions of the texts: about one per 500,000 rows. They never change the result."""


def decide(rows: ray.data.Dataset, config: ImageDuplicatesConfig, work: UPath) -> StepResult:
    """Keep pictures on one side of the split, cap captions, mark near pictures for review.

    Raises:
        InputError: a number in the configuration is out of its range.
    """
    if not 0 <= config.near_bits <= config.cropped_bits <= 64 or config.same_caption < 0:
        raise InputError(
            "image_duplicates needs 0 <= near_bits <= cropped_bits <= 64 and same_caption >= 0"
        )
    found = rows.map_batches(_held_out_pictures, batch_format="pyarrow", batch_size=None)
    held_out = ray.put(collect(found, HELD_OUT).group_by("key").aggregate([("id", "min")]))

    def show(table: pa.Table) -> pa.Table:
        return _shown(table, _holders(table, ray.get(held_out)), config.source_priority)

    def judge(table: pa.Table) -> pa.Table:
        return _decided(table, config)

    shown = rows.map_batches(show, batch_format="pyarrow", batch_size=None)
    together = shown.repartition(config.partitions, keys=["bucket"])
    return StepResult(lines=together.map_batches(judge, batch_format="pyarrow", batch_size=None))


def _picture_keys(table: pa.Table) -> pa.Table:
    """What pictures are known by, pixels and files: columns key and row (its position)."""
    columns = []
    for name in ("image_keys", "fingerprints"):
        lists = table[name].combine_chunks()
        values = pc.list_flatten(lists)
        keys = values if name == "image_keys" else values.field("file")
        columns.append((keys, pc.list_parent_indices(lists)))
    keys, rows = (pa.chunked_array(column) for column in zip(*columns, strict=True))
    return pa.table({"key": keys, "row": rows})


def _held_out_pictures(table: pa.Table) -> pa.Table:
    """Every key of the pictures of held-out rows, with the row's id."""
    table = table.filter(pc.not_equal(table["split"], "train"))
    pictures = _picture_keys(table)
    return pa.table([pictures["key"], table["id"].take(pictures["row"])], schema=HELD_OUT)


def _holders(table: pa.Table, held_out: pa.Table) -> list[str | None]:
    """The held-out row that shows a picture of each row, None of rows that are held out or free."""
    pictures = _picture_keys(table)
    at = pc.index_in(pictures["key"], value_set=held_out["key"].combine_chunks())
    found = pictures.append_column("id", held_out["id_min"].take(at)).filter(at.is_valid())
    holders: list[str | None] = [None] * table.num_rows
    train = pc.equal(table["split"], "train").to_pylist()
    for row, id in zip(found["row"].to_pylist(), found["id"].to_pylist(), strict=True):
        if train[row]:
            holders[row] = min(id, holders[row] or id)
    return holders


def _shown(
    table: pa.Table, holders: Sequence[str | None], source_priority: Sequence[str]
) -> pa.Table:
    """What each row says about its pictures, by `SHOWN`."""
    said = list(conversations(table["turns"]))
    captions = pc.equal(table["task"], "caption")
    keys = list(map(_text_keys, said, captions.to_pylist()))
    position = pc.index_in(table["source"], value_set=pa.array(source_priority, pa.string()))
    columns = {
        **{name: table[name] for name in ("part", "id", "source", "image_keys", "fingerprints")},
        "caption": captions,
        "train": pc.equal(table["split"], "train"),
        "priority": pc.fill_null(position, len(source_priority)),
        "length": [sum(len(text) for _, text in turns) for turns in said],
        "text": [text for text, _ in keys],
        "group": [group for _, group in keys],
        "bucket": [int(group[:4], 16) for _, group in keys],
        "held_out": holders,
    }
    return pa.table(columns, schema=SHOWN)


def _text_keys(said: Sequence[tuple[str, str]], caption: bool) -> tuple[str, str]:
    """MD5 of what is said about a picture (a caption: of the answer alone), with and without sides.

    A mirrored picture may come with its side changed, which is what a person should see.
    """
    turns = said[-1:] if caption else said
    text = "\n".join(normalised(text.replace(IMAGE_PLACEHOLDER, "")) for _, text in turns)
    marked = f"{caption}\n{text}"
    return _md5(marked), _md5(SIDES.sub("", marked))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()


def _decided(table: pa.Table, config: ImageDuplicatesConfig) -> pa.Table:
    """The lines of one partition, which holds every row of each of its texts."""
    table = table.combine_chunks()
    fate: dict[int, Decision] = {}
    reviews: dict[int, Decision] = {}
    for place in np.flatnonzero(table["held_out"].is_valid()).tolist():
        row = table.slice(place, 1).to_pylist()[0]
        fate[place] = _decision(row, "dropped", HELD_OUT_PICTURE, kept=row["held_out"])
    for places in _groups(table):
        free = [place for place in places if place not in fate]
        fate |= _over_cap(table, free, config.same_caption)
        reviews |= _near(table, [place for place in free if place not in fate], config)
    return lines_of(table, map((fate | reviews).get, range(table.num_rows)))


def _decision(row: Row, verdict: Verdict, reason: str, **evidence: Any) -> Decision:
    return Decision(
        id=row["id"], source=row["source"], verdict=verdict, reason=reason, evidence=evidence
    )


def _groups(table: pa.Table) -> Iterator[list[int]]:
    """Positions of the rows with pictures that say the same but for the side, best first."""
    shows = np.flatnonzero(pc.greater(pc.list_value_length(table["image_keys"]), 0))
    ranks = table.select([name for name, _ in BEST_FIRST]).take(shows)
    order = pc.sort_indices(ranks, sort_keys=BEST_FIRST)
    groups = np.asarray(ranks["group"].take(order), str)
    ends = np.flatnonzero(groups[1:] != groups[:-1]) + 1
    yield from (places.tolist() for places in np.split(shows[order], ends) if len(places) > 1)


def _over_cap(table: pa.Table, places: list[int], most: int) -> dict[int, Decision]:
    """The fate of the rows whose caption the `most` best rows have already; 0 for no limit."""
    columns = table.select(["id", "source", "text", "caption", "train"]).take(places).to_pylist()
    captioned: dict[str, list[tuple[int, Row]]] = {}
    for place, row in zip(places, columns, strict=True):
        if most and row["caption"] and row["train"]:
            captioned.setdefault(row["text"], []).append((place, row))
    reason = f"caption repeated more than {most} times"
    return {
        place: _decision(row, "dropped", reason, kept=rows[0][1]["id"], rows=len(rows))
        for rows in captioned.values()
        for place, row in rows[most:]
    }


def _near(table: pa.Table, places: list[int], config: ImageDuplicatesConfig) -> dict[int, Decision]:
    """A review of each row with a picture that is near one of a better ranked row."""
    rows = table.take(places[: config.most_compared]).to_pylist()
    changed = config.cropped_bits if rows and rows[0]["caption"] else config.near_bits
    nearest: dict[int, NearPicture] = {}
    for found in near_pictures(_pictures(rows), config.near_bits, changed):
        nearest[found.row] = min(found, nearest.get(found.row, found))
    return {places[number]: _review(rows, found) for number, found in nearest.items()}


def _review(rows: Sequence[Row], found: NearPicture) -> Decision:
    row, better = rows[found.row], rows[found.better]
    same_text = row["text"] == better["text"]
    evidence = {"like": better["id"], "bits": found.bits, "same_text": same_text}
    return _decision(row, "review", REASONS[found.kind], **evidence)


def _pictures(rows: Sequence[Row]) -> Pictures:
    """The pictures of rows, in order."""
    flat = [
        (number, key, found["perceptual"], found["mirrored"])
        for number, row in enumerate(rows)
        for key, found in zip(row["image_keys"], row["fingerprints"], strict=True)
    ]
    numbers, keys, perceptual, mirrored = zip(*flat, strict=True) if flat else ((), (), (), ())
    return Pictures(
        row=np.asarray(numbers, np.int64),
        pixels=np.unique(np.asarray(keys, str), return_inverse=True)[1],
        perceptual=np.asarray(perceptual, np.uint64),
        mirrored=np.asarray(mirrored, np.uint64),
    )
