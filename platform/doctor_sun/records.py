"""One sample, the same from ingestion to training: its Arrow schema, its id, its turns.

A sample is a plain dict with the columns of `SCHEMA`; Ray Data and Parquet carry it as Arrow.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
import pyarrow as pa
from PIL import Image

IMAGE_PLACEHOLDER = "<image>"

Domain = Literal["medical", "general"]
Language = Literal["en", "zh"]
Task = Literal["caption", "vqa", "instruction"]
CHOICES = {
    "domain": ("medical", "general"),
    "language": ("en", "zh"),
    "task": ("caption", "vqa", "instruction"),
    "split": ("train", "validation", "test"),
}


class Turn(TypedDict):
    """One utterance; `text` holds `<image>` where an image stands."""

    role: Literal["system", "user", "assistant"]
    text: str


TURNS = pa.list_(pa.struct([("role", pa.string()), ("text", pa.string())]))

SCHEMA = pa.schema(
    [
        ("id", pa.string()),  # sha256 of source, source key and content
        ("source", pa.string()),  # the data set it came from
        ("source_key", pa.string()),  # its key there
        ("split", pa.string()),
        ("domain", pa.string()),
        ("language", pa.string()),
        ("task", pa.string()),
        ("images", pa.list_(pa.binary())),  # encoded bytes, 0..n
        ("image_keys", pa.list_(pa.string())),  # sha256 of the decoded pixels, one an image
        ("turns", TURNS),
        ("parents", pa.list_(pa.string())),  # ids it was made from
        ("made_by", pa.string()),  # step, model, prompt hash of a derived sample; "" otherwise
    ]
)


def sha256(*parts: str | bytes) -> str:
    """Hex digest of the parts, each length-prefixed so that no two lists of parts collide."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def image_key(encoded: bytes) -> str:
    """sha256 of the decoded RGB pixels: equal for two encodings of one picture.

    Raises:
        OSError: the bytes are not a readable image.
    """
    with Image.open(io.BytesIO(encoded)) as image:
        pixels = np.asarray(image.convert("RGB"))
    return sha256(str(pixels.shape), pixels.tobytes())


def text_of(turns: Sequence[Mapping[str, str]]) -> str:
    """All that is said in a conversation, one turn a line, image places left out."""
    return "\n".join(t["text"].replace(IMAGE_PLACEHOLDER, "").strip() for t in turns)


def make_sample(
    *,
    source: str,
    source_key: str,
    domain: Domain,
    language: Language,
    task: Task,
    turns: Sequence[Turn],
    images: Sequence[bytes] = (),
    split: str = "train",
    parents: Sequence[str] = (),
    made_by: str = "",
    decode: bool = True,
) -> dict[str, Any]:
    """A complete sample: computes its id and its images' keys, checks it.

    `decode=False` leaves `image_keys` empty for whoever decodes the images anyway; the id then
    stands on their files' hashes instead of their pixels'.

    Raises:
        ValueError: an enumerated column has another value, or `<image>` marks and images differ.
        OSError: an image cannot be decoded.
    """
    keys = [image_key(encoded) for encoded in images] if decode else []
    content = json.dumps([[t["role"], t["text"]] for t in turns], ensure_ascii=False)
    sample: dict[str, Any] = {
        "id": sha256(source, source_key, content, *(keys if decode else map(sha256, images))),
        "source": source,
        "source_key": source_key,
        "split": split,
        "domain": domain,
        "language": language,
        "task": task,
        "images": list(images),
        "image_keys": keys,
        "turns": [dict(t) for t in turns],
        "parents": list(parents),
        "made_by": made_by,
    }
    check_sample(sample)
    return sample


def check_sample(sample: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the column, when a sample breaks the contract of this file."""
    for column, allowed in CHOICES.items():
        if sample[column] not in allowed:
            raise ValueError(f"column '{column}' must be one of {', '.join(allowed)}")
    turns = sample["turns"]
    if not turns or turns[-1]["role"] != "assistant":
        raise ValueError("column 'turns' must end with an assistant turn")
    marks = sum(t["text"].count(IMAGE_PLACEHOLDER) for t in turns)
    if marks != len(sample["images"]):
        raise ValueError(f"{marks} {IMAGE_PLACEHOLDER} marks for {len(sample['images'])} images")


def to_table(samples: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Samples as an Arrow table with exactly `SCHEMA`."""
    return pa.Table.from_pylist([dict(s) for s in samples], schema=SCHEMA)
