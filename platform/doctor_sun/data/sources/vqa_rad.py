"""VQA-RAD: clinicians' questions on radiology pictures of MedPix; the training part.

Two releases of the same questions. OSF (https://osf.io/89kps, Lau et al. 2018): one JSON array
"VQA_RAD Dataset Public.json" with qid, image_name, question, answer (numbers among them) and
phrase_type; the training part is what has a phrase_type of freeform or para; pictures in "VQA_RAD
Image Folder".
Hugging Face (flaviagiammarino/vqa-rad): data/train-*.parquet with image {bytes, path}, question,
answer; repeated triples are gone there. The test part is a benchmark: `data/benchmarks/vqa_rad.py`;
pictures occur in both parts, which decontamination deals with.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from upath import UPath

from doctor_sun.data.sources.pictures import Pictures
from doctor_sun.data.sources.record import Broken, Record
from doctor_sun.data.sources.source import Card, RecordSource, Sample
from doctor_sun.data.sources.turns import exchange

PUBLIC = "VQA_RAD Dataset Public.json"


def embedded_picture(record: Record, key: str, column: str = "image") -> bytes:
    """The picture in a Parquet row of Hugging Face: {"bytes", "path"}.

    Raises:
        Broken: there is none.
    """
    held = record.fields.get(column)
    if not isinstance(held, dict) or not isinstance(held.get("bytes"), bytes):
        raise Broken("missing image", key)
    return bytes(held["bytes"])


@dataclass(frozen=True, kw_only=True)
class VqaRad(RecordSource):
    """Either release's training questions."""

    card = Card(
        kind="vqa_rad",
        title="VQA-RAD",
        domain="medical",
        languages=("en",),
        task="vqa",
        rows={"train": 1_797},
        layout=f"'{PUBLIC}' with 'VQA_RAD Image Folder/', or data/train-*.parquet",
        where="https://osf.io/89kps or hf.co/datasets/flaviagiammarino/vqa-rad",
        licence="CC0 1.0",
    )
    files: ClassVar = {"train": (PUBLIC, "data/train-*.parquet", "train-*.parquet")}

    def pictures(self, root: UPath, file: str) -> Pictures:
        """See `RecordSource.pictures`."""
        folder = "VQA_RAD Image Folder"
        return Pictures(root, (folder, f"{folder}.zip/{folder}", f"{folder}.zip"))

    def samples(self, record: Record, pictures: Pictures) -> Iterable[Sample]:
        """See `RecordSource.samples`."""
        public = record.file.endswith(".json")
        if public and record.text("phrase_type").startswith("test"):
            return
        key = record.text("qid") if public else record.place
        turns = exchange(record.text("question"), record.text("answer"), images=1)
        image = (
            pictures.read(record.text("image_name"), key)
            if public
            else embedded_picture(record, key)
        )
        yield self.sample(key, turns, [image])


SOURCES = (VqaRad,)
