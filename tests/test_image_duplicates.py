"""Pictures: what identifies them, and what happens to rows that share or nearly share one."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter
from upath import UPath

from doctor_sun.data.image_duplicates import ImageDuplicatesConfig, decide
from doctor_sun.data.image_fingerprint import BLANK, fingerprint
from doctor_sun.data.near_pictures import Pictures, near_pictures
from doctor_sun.errors import InputError
from doctor_sun.records import image_key
from tests.duplicate_rows import dataset, lines, row, verdicts

FORMATS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "JPEG": {"quality": 60},
}


def drawn(seed: int, size: int = 128) -> Image.Image:
    """A smooth random picture on a body that all share, as radiographs do."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    body = 150 * np.exp(-3 * (x**2 + y**2))
    pixels = body + 250 * gaussian_filter(random.normal(size=(size, size)), size / 20)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGB")


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **FORMATS[kind])
    return stream.getvalue()


def cropped(image: Image.Image, part: float = 0.025) -> Image.Image:
    """Without this part of its width and height at each side."""
    size = image.width
    return image.crop((round(part * size),) * 2 + (round((1 - part) * size),) * 2)


def bits(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def test_another_encoding_of_the_same_pixels() -> None:
    image = drawn(1)
    prints = [fingerprint(encoded(image, kind)) for kind in ("PNG", "WEBP", "BMP")]
    assert len({found.pixels for found in prints}) == len({p.perceptual for p in prints}) == 1
    assert len({found.file for found in prints}) == 3
    assert prints[0].pixels == image_key(encoded(image))


def test_perceptual_hashes_tell_copies_from_other_pictures() -> None:
    images = [drawn(seed) for seed in range(20)]
    prints = [fingerprint(encoded(image)) for image in images]
    for image, found in zip(images, prints, strict=True):
        lossy = fingerprint(encoded(image, "JPEG"))
        assert lossy.pixels != found.pixels
        assert bits(lossy.perceptual, found.perceptual) <= 4
        flipped = fingerprint(encoded(ImageOps.mirror(image)))
        assert bits(flipped.perceptual, found.mirrored) <= 4
        assert bits(flipped.mirrored, found.perceptual) <= 4
        assert bits(flipped.perceptual, found.perceptual) > 4
    crops = [fingerprint(encoded(cropped(image))).perceptual for image in images]
    near = [bits(a, b.perceptual) <= 10 for a, b in zip(crops, prints, strict=True)]
    assert sum(near) >= 0.9 * len(near)  # 5 % of width and height; most of larger crops are lost
    pairs = [(a, b) for n, a in enumerate(prints) for b in prints[:n]]
    assert min(bits(a.perceptual, b.perceptual) for a, b in pairs) > 10


def test_a_picture_of_one_colour_has_no_hash() -> None:
    blank = fingerprint(encoded(Image.new("RGB", (50, 40), (37, 37, 37))))
    assert blank.perceptual == blank.mirrored == BLANK


@pytest.mark.parametrize("broken", [b"", b"no picture", encoded(drawn(1))[:300]])
def test_what_is_no_picture_is_an_os_error(broken: bytes) -> None:
    with pytest.raises(OSError, match="readable"):
        fingerprint(broken)


def test_near_pictures_equal_those_of_a_plain_search() -> None:
    random = np.random.default_rng(0)
    base = random.integers(1, 1 << 60, 40, dtype=np.uint64)
    hashes = base[random.integers(0, 40, 700)] ^ (
        np.uint64(1) << random.integers(0, 60, 700, dtype=np.uint64)
    )
    numbers = np.arange(700)
    pictures = Pictures(numbers // 2, random.integers(0, 300, 700), hashes, ~hashes)
    found = {}
    for near in near_pictures(pictures, near=2, changed=2):
        found[near.row] = min(near.bits, found.get(near.row, 99))
    wanted = {}
    for i in range(700):
        for j in range(i):
            distance = bits(int(hashes[i]), int(hashes[j]))
            apart = i // 2 != j // 2 and pictures.pixels[i] != pictures.pixels[j]
            if apart and distance <= 2:
                wanted[i // 2] = min(distance, wanted.get(i // 2, 99))
    assert found == wanted
    assert len(found) > 100


def caption(id: str, image: bytes, said: str = "Mass in the left lung.", **columns: Any) -> Any:
    return row(id, "<image>\nDescribe.", said, images=[image], task="caption", **columns)


def question(id: str, image: bytes, asked: str, **columns: Any) -> Any:
    return row(id, f"<image>\n{asked}", "yes", images=[image], task="vqa", **columns)


CONFIG = ImageDuplicatesConfig(source_priority=["best"], same_caption=2, partitions=3)


@pytest.mark.slow
def test_verdicts_on_pictures(tmp_path: Path, ray_cluster: None) -> None:
    one, two, three = (drawn(seed) for seed in (1, 2, 3))
    rows = [
        # A held-out picture: every train row that shows it goes, questions of one split stay.
        question("held", encoded(one), "Is it one?", split="test"),
        question("held-2", encoded(one), "Is it two?", split="test"),
        question("leak", encoded(one, "WEBP"), "Is it three?"),
        question("free", encoded(two), "Is it one?"),
        question("free-2", encoded(two), "Is it two?"),
        # One caption, four pictures: the best two stay.
        *(caption(f"cap-{n}", encoded(drawn(10 + n)), "A chest film.") for n in range(3)),
        caption("z-cap", encoded(drawn(14)), "a chest  film.", source="best"),
        # Nearly the same pictures with one caption, and with another one.
        caption("near-0", encoded(three)),
        caption("near-1", encoded(three, "JPEG"), "Mass in the LEFT lung."),
        caption("near-2", encoded(three, "JPEG"), "No mass."),
        caption("turn-0", encoded(drawn(20)), "Cyst in the right lung."),
        caption("turn-1", encoded(ImageOps.mirror(drawn(20))), "Cyst in the left lung."),
        caption("crop-0", encoded(drawn(21)), "A long enough caption."),
        caption("crop-1", encoded(cropped(drawn(21), 0.03)), "A long enough caption."),
        row("text", "q", "a"),
    ]
    found = lines(decide(dataset(rows), CONFIG, UPath(tmp_path)))
    own = [line["id"] for line in found if line["verdict"] != "review"]
    assert sorted(own) == sorted(r["id"] for r in rows)
    marked = {line["id"]: (line["verdict"], json.loads(line["evidence"] or "{}")) for line in found}
    decided = {id: verdict for id, (verdict, _) in marked.items() if verdict}
    assert decided == {
        "leak": "dropped",
        "cap-1": "dropped",
        "cap-2": "dropped",
        "near-1": "review",
        "turn-1": "review",
        "crop-1": "review",
    }
    assert marked["leak"][1]["kept"] == "held"
    assert marked["cap-2"][1] == {"kept": "z-cap", "rows": 4}
    assert marked["near-1"][1]["like"] == "near-0"
    assert marked["turn-1"][1] == {"like": "turn-0", "bits": 0, "same_text": False}
    reasons = {line["id"]: line["reason"] for line in found}
    assert reasons["turn-1"].startswith("mirrored")
    assert "cropped" in reasons["crop-1"]
    # The same in other blocks, in the other order, over other partitions.
    other = ImageDuplicatesConfig(source_priority=["best"], same_caption=2, partitions=1)
    assert lines(decide(dataset(rows[::-1], 1), other, UPath(tmp_path))) == found


@pytest.mark.slow
def test_no_caption_limit_and_no_rows(tmp_path: Path, ray_cluster: None) -> None:
    rows = [caption(f"{n}", encoded(drawn(30 + n))) for n in range(5)]
    rows.append(caption("held", encoded(drawn(30)), split="validation"))
    unlimited = ImageDuplicatesConfig(same_caption=0, partitions=2)
    assert verdicts(decide(dataset(rows), unlimited, UPath(tmp_path))) == {"0": "dropped"}
    nothing = dataset(rows).filter(lambda _: False)
    assert verdicts(decide(nothing, unlimited, UPath(tmp_path))) == {}
    with pytest.raises(InputError, match="near_bits"):
        decide(nothing, ImageDuplicatesConfig(near_bits=11), UPath(tmp_path))
