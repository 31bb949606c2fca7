"""Whether a row would let a model see a held-out item, and which one.

What counts, strongest first:

- `pair`: a held-out picture (equal pixels or an equal file) and the question asked about it;
- `image`: a held-out picture with any other text, since all questions of one picture belong to one
  split (MedTrinity-25M shipped all 451 VQA-RAD test pictures in its training set);
- `text`: a long held-out question, wherever in the row it stands (`text.py`);
- `answer`: a short question without a picture, with its answer or options;
- `near pair`: a picture with the same perceptual hash, and the question with its answer;
- `held-out row`: a picture that a row of the corpus's own validation or test split shows as well.

For review:

- `near image`: a close hash, or one close to the mirrored picture's (dropped on request);
- `other picture`: the long question about a held-out picture, with its answer, about another
  picture, which may be a crop of it;
- `translated`: an item in the other language, by sentence vectors (`translated.py`).

A short question such as "Is there a fracture?" on another picture is no leak, nor is any question
on another picture without its answer: SLAKE's test split shares whole questions with 8,501 of the
9,835 rows of its training split.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from doctor_sun.data.decontamination.grams import Tokens, row_tokens
from doctor_sun.data.decontamination.pictures import PictureIndex, PictureMatch, short_key
from doctor_sun.data.decontamination.text import TextIndex
from doctor_sun.data.ledger import Decision
from doctor_sun.data.rows import lines_of

REASONS = {
    "pair": "picture and question of a benchmark item",
    "image": "picture of a benchmark item",
    "text": "question of a benchmark item",
    "answer": "question and answer of a benchmark item",
    "near pair": "question and answer of a benchmark item, picture like its own",
    "held-out row": "picture of a held-out row",
    "near image": "picture close to one of a benchmark",
    "other picture": "question and answer of a benchmark item on another picture",
    "translated": "translation of a benchmark item",
}
RANK = {level: rank for rank, level in enumerate(REASONS)}
LATER_SPLITS = {"train": ("validation", "test"), "validation": ("test",)}


@dataclass(frozen=True, order=True)
class _Finding:
    """A reason to judge a row; the smallest is the strongest."""

    rank: int
    distance: int
    missing: float
    """1 - containment."""
    item: int
    """-1 for a held-out row of the corpus."""
    key: str = ""
    """Split and picture of the held-out row."""


@dataclass(frozen=True)
class Index:
    """All that a task needs to judge rows."""

    text: TextIndex
    pictures: PictureIndex
    benchmarks: Sequence[str]
    ids: Sequence[str]
    pictured: NDArray[np.bool_]
    """[items] whether its picture is known."""
    held_out: Mapping[str, NDArray[np.uint64]]
    splits: Sequence[str]
    near_image: str


def judge(table: pa.Table, index: Index) -> pa.Table:
    """One line a row of a block: the strongest reason against it, if any."""
    said = row_tokens(table["turns"], index.text.tokens.vocabulary)
    split = np.asarray(table["split"].to_pylist(), dtype=object)
    best: dict[int, _Finding] = {}
    for row, finding in _findings(table, said, index):
        if split[row] in index.splits and (row not in best or finding < best[row]):
            best[row] = finding
    named = zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True)
    return lines_of(
        table,
        (
            _decision(id, source, best[row], index) if row in best else None
            for row, (id, source) in enumerate(named)
        ),
    )


def _findings(table: pa.Table, said: Tokens, index: Index) -> Iterator[tuple[int, _Finding]]:
    for picture in index.pictures.matches(table):
        yield picture.row, _of_picture(picture, said.text(picture.row), index)
    shows = pc.list_value_length(table["image_keys"]).to_pylist()
    for match in index.text.matches(said):
        level = match.level
        if index.pictured[match.item] and shows[match.row]:
            if not index.text.holds_answer(said.text(match.row), match.item):
                continue
            level = "other picture"
        yield match.row, _Finding(RANK[level], 0, 1 - match.containment, match.item)
    yield from _shared_with_held_out(table, index.held_out)
    if "translated_item" in table.column_names:
        for row, item in enumerate(table["translated_item"].to_pylist()):
            if item is not None:
                far = 1 - table["translated_cosine"][row].as_py()
                yield row, _Finding(RANK["translated"], 0, far, item)


def _of_picture(match: PictureMatch, said: NDArray[np.int32], index: Index) -> _Finding:
    """The strongest level at which a row shares a held-out picture."""
    items = [int(item) for item in index.pictures.items[match.picture]]
    asked = [item for item in items if index.text.holds_question(said, item)]
    if match.same:
        level = "pair" if asked else "image"
        return _Finding(RANK[level], 0, 0.0, (asked or items)[0])
    told = [item for item in asked if index.text.holds_answer(said, item)]
    equal = match.distance == 0 and not match.mirrored
    level = "near pair" if told and equal else "near image"
    return _Finding(RANK[level], match.distance, 0.0, (told or asked or items)[0])


def _shared_with_held_out(
    table: pa.Table, held_out: Mapping[str, NDArray[np.uint64]]
) -> Iterator[tuple[int, _Finding]]:
    """Rows of an earlier split that show a picture of a later one."""
    if not held_out:
        return
    for row, (split, keys) in enumerate(
        zip(table["split"].to_pylist(), table["image_keys"].to_pylist(), strict=True)
    ):
        for other in LATER_SPLITS.get(split, ()):
            shared = np.isin(short_key(keys), held_out.get(other, np.zeros(0, np.uint64)))
            if shared.any():
                key = f"{other} {keys[int(shared.argmax())]}"
                yield row, _Finding(RANK["held-out row"], 0, 0.0, -1, key)


def _decision(id: str, source: str, finding: _Finding, index: Index) -> Decision:
    level = list(RANK)[finding.rank]
    by_choice = level == "near image" and index.near_image == "review"
    for_review = by_choice or level in ("other picture", "translated")
    evidence: dict[str, Any] = {"level": level, "containment": round(1 - finding.missing, 4)}
    if finding.item < 0:
        split, key = finding.key.split()
        evidence |= {"benchmark": f"{split} rows of this corpus", "item": key}
    else:
        evidence |= {
            "benchmark": index.benchmarks[finding.item],
            "item": index.ids[finding.item],
        }
    if level.startswith("near"):
        evidence["distance"] = finding.distance
    return Decision(
        id=id,
        source=source,
        verdict="review" if for_review else "dropped",
        reason=REASONS[level],
        evidence=evidence,
    )
