"""PathVQA: questions on pathology pictures from textbooks and PEIR; the training part.

Two releases. Hugging Face (flaviagiammarino/path-vqa): data/{train,validation}-*.parquet with image
{bytes, path}, question, answer. The authors' archive (He et al. 2020,
github.com/UCSD-AI4H/PathVQA; fields from public code that reads it):
pvqa/qas/{train,val}/{train,val}_qa.pkl, a pickled list of {"image": "train_0422", "question",
"answer"}, pictures in pvqa/images/{train,val}/train_0422.jpg. A pickle may run code when it is
loaded: these are loaded with every class and function refused, which is all that a list of texts
needs (docs.python.org, "Restricting Globals"). The test part is a benchmark:
`data/benchmarks/path_vqa.py`.
"""

import pickle
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any, ClassVar, NoReturn

from upath import UPath

from doctor_sun.data.sources import pieces
from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.pieces import bounds_of, ranges
from doctor_sun.data.sources.record import Broken, Record
from doctor_sun.data.sources.source import Card, RecordSource, Sample
from doctor_sun.data.sources.turns import exchange
from doctor_sun.data.sources.vqa_rad import embedded_picture


class _TextsOnly(pickle.Unpickler):
    """An unpickler that builds lists, dicts, texts and numbers, and nothing else."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"{module}.{name} is refused")


def unpickled(stream: IO[bytes]) -> list[Any]:
    """A pickled list of plain values.

    Raises:
        Broken: it is no such pickle.
    """
    try:
        content = _TextsOnly(stream).load()
    except Exception as error:  # a damaged pickle raises whatever its opcodes run into
        raise Broken("not a pickle of plain texts") from error
    if not isinstance(content, list):
        raise Broken("not a pickled list")
    return content


@dataclass(frozen=True, kw_only=True)
class PathVqa(RecordSource):
    """Either release's questions."""

    card = Card(
        kind="path_vqa",
        title="PathVQA",
        domain="medical",
        languages=("en",),
        task="vqa",
        rows={"train": 19_654, "validation": 6_259},
        layout="data/train-*.parquet (image, question, answer), or pvqa/qas/ with pvqa/images/",
        where="hf.co/datasets/flaviagiammarino/path-vqa or github.com/UCSD-AI4H/PathVQA",
        licence="MIT; the pictures are the books' and PEIR's",
    )
    files: ClassVar = {
        split: (
            *(f"data/{split}-*.parquet", f"{split}-*.parquet"),
            *(f"{base}qas/{short}/{short}_qa.pkl" for base in ("", "pvqa/")),
        )
        for split, short in (("train", "train"), ("validation", "val"))
    }

    def cut(self, path: UPath, file: str) -> list[str]:
        """See `RecordSource.cut`."""
        if path.suffix != ".pkl":
            return super().cut(path, file)
        try:
            with path.open("rb") as stream:
                count = len(unpickled(stream))
        except Broken:
            return [file]  # its fault is a row
        return ranges([*range(0, count, pieces.PIECE_ROWS), count], file)

    def records(self, root: UPath, shard: str) -> Iterator[Record]:
        """See `RecordSource.records`."""
        file, start, end = bounds_of(shard)
        if not file.endswith(".pkl"):
            yield from super().records(root, shard)
            return
        try:
            with (root / file).open("rb") as stream:
                rows = unpickled(stream)[start:end]
        except Broken as broken:
            rows = [broken]
        for at, row in enumerate(rows, start):
            yield Record(row, file, at)

    def pictures(self, root: UPath, file: str) -> Pictures:
        """See `RecordSource.pictures`."""
        folder, short = posixpath.split(posixpath.dirname(file))
        return Pictures(root, (posixpath.join(posixpath.dirname(folder), "images", short),))

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        turns = exchange(record.text("question"), record.text("answer"), images=1)
        image = (
            pictures.read(f"{record.text('image')}.jpg", record.place)
            if record.file.endswith(".pkl")
            else embedded_picture(record, record.place)
        )
        yield self.sample(record.place, turns, [image], split=self.split_of(record.file))


SOURCES = (PathVqa,)
