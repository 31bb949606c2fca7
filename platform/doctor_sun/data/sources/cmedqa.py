"""cMedQA2: questions of patients and answers of doctors, Chinese.

Zhang et al. 2018 (github.com/zhangsheng93/cMedQA2, README; columns from public code that reads it):
question.csv (question_id, content), answer.csv (ans_id, question_id, content) and
{train,dev,test}_candidates.txt (head question_id, ...), each shipped in a zip of its name, to be
unpacked. An answer with its question becomes a sample; the answers of one question point to it by
`parents`. Questions that no split names (there are some) are left out. A row is faulty when its
question is missing or a text empty.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from upath import UPath

from doctor_sun.data.sources import pieces
from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Broken, Record
from doctor_sun.data.sources.source import Card, RecordSource, Sample
from doctor_sun.data.sources.turns import exchange
from doctor_sun.errors import InputError
from doctor_sun.records import sha256

SHORT = {"train": "train", "validation": "dev", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class CMedQa(RecordSource):
    """Single questions with each of their answers."""

    card = Card(
        kind="cmedqa",
        title="cMedQA2",
        domain="medical",
        languages=("zh",),
        task="instruction",
        rows={"train": 188_490, "validation": 7_527, "test": 7_552},
        layout="question.csv, answer.csv, train_candidates.txt (dev_, test_)",
        where="https://github.com/zhangsheng93/cMedQA2",
        licence="non-commercial research",
    )
    files: ClassVar = dict.fromkeys(SHORT, ("answer.csv",))

    def found(self, root: UPath) -> list[tuple[str, UPath]]:
        """See `RecordSource.found`."""
        held = super().found(root)
        for name in ("question.csv", *(f"{SHORT[split]}_candidates.txt" for split in self.splits)):
            if not (root / name).is_file():
                raise InputError(f"source {self.label}: {root} holds no {name}")
        return held

    def records(self, root: UPath, shard: str) -> Iterator[Record]:
        """See `RecordSource.records`; an answer's record holds its question and split too."""
        questions, splits = _questions(str(root)), _splits(str(root), self.splits)
        for record in super().records(root, shard):
            if not isinstance(record.content, dict):
                yield record
                continue
            asked = record.content.get("question_id", "")
            known = {"question": questions.get(asked, ""), "split": splits.get(asked, "")}
            yield replace(record, content={**record.content, **known})

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        key, asked, split = (record.text(name, "") for name in ("ans_id", "question_id", "split"))
        if not key or not asked:
            raise Broken("no ans_id or question_id")
        if not split:
            return
        question = record.text("question", "")
        if not question:
            raise Broken("its question is missing", key)
        parents = [sha256(self.label, asked)]
        turns = exchange(question, record.text("content"))
        yield self.sample(key, turns, split=split, parents=parents)


@functools.lru_cache(maxsize=2)
def _questions(root: str) -> Mapping[str, str]:
    """The questions' texts by id; read once a process."""
    rows = pieces.records(UPath(root), "question.csv")
    held = (row.content for row in rows if isinstance(row.content, dict))
    return {row.get("question_id", ""): row.get("content", "").strip() for row in held}


@functools.lru_cache(maxsize=2)
def _splits(root: str, splits: tuple[str, ...]) -> Mapping[str, str]:
    """The split of each question that one of some splits names; read once a process."""
    result: dict[str, str] = {}
    types = {"question_id": pa.string()}
    options = pa_csv.ConvertOptions(include_columns=["question_id"], column_types=types)
    for split in splits:
        path = UPath(root) / f"{SHORT[split]}_candidates.txt"
        try:
            with path.open("rb") as stream:
                ids = pa_csv.read_csv(stream, convert_options=options)["question_id"]
        except (pa.ArrowInvalid, KeyError):
            raise InputError(f"{path} is no table with a column question_id") from None
        result |= dict.fromkeys(pc.unique(ids).to_pylist(), split)
    return result


SOURCES = (CMedQa,)
