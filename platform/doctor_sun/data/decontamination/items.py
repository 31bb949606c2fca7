"""The held-out items that rows are compared with: their texts, and the fingerprints of pictures.

Pictures are fingerprinted one by one and let go: what stays is a few hundred bytes an item.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from upath import UPath

from doctor_sun.data.benchmarks import BENCHMARKS, BenchmarkItem, load_benchmark, plain
from doctor_sun.data.image_fingerprint import Fingerprint, fingerprint
from doctor_sun.errors import InputError
from doctor_sun.records import Language

CHUNK = 256  # items in memory with their pictures
THREADS = 8


@dataclass(frozen=True)
class HeldOutItem:
    """One benchmark question without its picture's bytes."""

    benchmark: str
    id: str
    language: Language
    question: str
    answer: str
    options: tuple[str, ...]
    picture: int
    """Number of its picture; -1 without one, or where its file is missing."""
    shows: bool
    """Whether it asks about a picture."""


@dataclass
class HeldOut:
    """All held-out items of a configuration."""

    items: list[HeldOutItem] = field(default_factory=list)
    pictures: list[Fingerprint] = field(default_factory=list)
    """Distinct by pixels; item.picture counts here."""
    files: dict[str, int] = field(default_factory=dict)
    """MD5 of an encoded picture to its number in `pictures`."""
    registry: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the manifest says of each benchmark."""


def read_held_out(benchmarks: Mapping[str, str], own: Mapping[str, str]) -> HeldOut:
    """Read every configured set; registered benchmarks without a folder are marked not checked.

    Args:
        benchmarks: folder or URI by registered name.
        own: Parquet or JSON lines file by any other name.

    Raises:
        InputError: a name or folder is wrong, or a file is not as published.
    """
    held_out = HeldOut()
    pixels: dict[str, int] = {}
    for name, path in own.items():
        if name in BENCHMARKS:
            raise InputError(f"own set '{name}' has the name of a registered benchmark")
        _read(held_out, pixels, name, plain.load(UPath(path)), {"version": "own"})
    for name, folder in benchmarks.items():
        items = load_benchmark(name, folder)
        _read(held_out, pixels, name, items, {"version": BENCHMARKS[name].version})
    for name, benchmark in BENCHMARKS.items():
        if name not in benchmarks:
            held_out.registry[name] = {"version": benchmark.version, "checked": False}
    return held_out


def _read(
    held_out: HeldOut,
    pixels: dict[str, int],
    name: str,
    items: Iterator[BenchmarkItem],
    facts: Mapping[str, Any],
) -> None:
    """Take in one benchmark: its items, its pictures, its line in the registry."""
    digest = hashlib.sha256()
    first, missing = len(held_out.items), 0
    with ThreadPoolExecutor(THREADS) as threads:
        while chunk := list(islice(items, CHUNK)):
            numbers = _pictures(held_out, pixels, chunk, threads)
            for item, number in zip(chunk, numbers, strict=True):
                shows = bool(item.image_name)
                missing += shows and number < 0
                held_out.items.append(
                    HeldOutItem(
                        *(name, item.id, item.language, item.question, item.answer),
                        *(item.options, number, shows),
                    )
                )
                key = held_out.pictures[number].pixels if number >= 0 else ""
                text = [item.id, item.language, item.question, item.answer, item.options, key]
                digest.update(json.dumps(text, ensure_ascii=False).encode() + b"\n")
    found = held_out.items[first:]
    if not found:
        raise InputError(f"benchmark {name}: its files hold no held-out item")
    held_out.registry[name] = {
        **facts,
        "checked": True,
        "items": len(found),
        "pictures": len({item.picture for item in found} - {-1}),
        "pictures_missing": missing,
        "sha256": digest.hexdigest(),
    }


def _pictures(
    held_out: HeldOut,
    pixels: dict[str, int],
    items: Sequence[BenchmarkItem],
    threads: ThreadPoolExecutor,
) -> list[int]:
    """The number of each item's picture; questions that share one share its number."""
    encoded = {hashlib.md5(item.image).hexdigest(): item for item in items if item.image}
    new = {file: item for file, item in encoded.items() if file not in held_out.files}
    for (file, _), found in zip(new.items(), threads.map(_print, new.values()), strict=True):
        if found.pixels not in pixels:
            pixels[found.pixels] = len(held_out.pictures)
            held_out.pictures.append(found)
        held_out.files[file] = pixels[found.pixels]
    md5 = [hashlib.md5(item.image).hexdigest() if item.image else "" for item in items]
    return [held_out.files.get(file, -1) for file in md5]


def _print(item: BenchmarkItem) -> Fingerprint:
    try:
        return fingerprint(item.image or b"")
    except OSError as error:
        raise InputError(f"item {item.id}: its picture cannot be read") from error
