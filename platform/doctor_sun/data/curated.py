"""What a curated data set looks like: counts, lengths, a few pictures; one pass by Ray Data."""

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import ray.data
from PIL import Image
from upath import UPath

from doctor_sun.records import text_of

LENGTHS = [0, *(2**power for power in range(3, 17))]  # characters, edges of the histogram's bins
KIND = ("source", "domain", "language", "task", "split")
THUMBNAIL = 96  # pixels
COLUMNS = [*KIND, "turns", "image_keys"]


@dataclass(frozen=True, kw_only=True)
class Description:
    """A curated data set in numbers."""

    rows: Mapping[tuple[str, ...], int]
    """Rows by source, domain, language, task and split."""

    lengths: Mapping[str, Sequence[int]]
    """Rows by language, in bins of characters (`LENGTHS`, the last bin open)."""

    images: int
    """Pictures, as often as rows show them."""

    def by(self, *names: str) -> Counter[tuple[str, ...]]:
        """Rows by some of the columns of `KIND`."""
        places = [KIND.index(name) for name in names]
        counter: Counter[tuple[str, ...]] = Counter()
        for kind, rows in self.rows.items():
            counter[tuple(kind[place] for place in places)] += rows
        return counter


def _describe_file(task: Mapping[str, Any]) -> dict[str, Any]:
    with UPath(task["file"]).open("rb") as stream:
        table = pq.read_table(stream, columns=COLUMNS)
    kinds = Counter("\n".join(row[name] for name in KIND) for row in table.to_pylist())
    lengths: dict[str, list[int]] = {}
    texts = [len(text_of(turns)) for turns in table["turns"].to_pylist()]
    languages = np.array(table["language"].to_pylist(), dtype=object)
    for language in sorted(set(languages)):
        own = np.array(texts)[languages == language]
        lengths[language] = np.histogram(own, [*LENGTHS, np.inf])[0].tolist()
    images = sum(map(len, table["image_keys"].to_pylist()))
    found = {"kinds": kinds, "lengths": lengths, "images": images}
    return {"found": json.dumps(found)}


def data_files(folder: UPath) -> list[UPath]:
    """The Parquet files of a curated data set."""
    return sorted((folder / "data").glob("*.parquet"), key=str)


def describe(folder: UPath) -> Description:
    """Read what is not pictures once, on the connected cluster."""
    files = [{"file": str(file)} for file in data_files(folder)]
    rows: Counter[tuple[str, ...]] = Counter()
    lengths: dict[str, Any] = {}
    images = 0
    if files:
        done = ray.data.from_items(files, override_num_blocks=len(files)).map(_describe_file)
        for line in done.iter_rows():
            found = json.loads(line["found"])
            rows.update({tuple(kind.split("\n")): n for kind, n in found["kinds"].items()})
            for language, counts in found["lengths"].items():
                lengths[language] = np.add(lengths.get(language, 0), counts)
            images += found["images"]
    sums = {language: counts.tolist() for language, counts in sorted(lengths.items())}
    return Description(rows=dict(rows), lengths=sums, images=images)


def rows_with_ids(folder: UPath, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The curated rows of these ids, without pictures."""
    import pyarrow.dataset as ds

    files = [str(file) for file in data_files(folder)]
    if not files or not ids:
        return {}
    filesystem = data_files(folder)[0].fs
    paths = [file.path for file in data_files(folder)]
    found = ds.dataset(paths, format="parquet", filesystem=filesystem).to_table(
        columns=["id", "source", "source_key", "parents", "made_by", "turns", "language"],
        filter=ds.field("id").isin(list(ids)),
    )
    return {row["id"]: row for row in found.to_pylist()}


def pictures(folder: UPath, count: int) -> list[tuple[str, bytes]]:
    """Up to `count` pictures as small JPEG files with their source, spread over the files."""
    files = data_files(folder)
    found: list[tuple[str, bytes]] = []
    step = max(1, len(files) // max(1, count))
    for file in files[::step]:
        if len(found) >= count:
            break
        with file.open("rb") as stream:
            parquet = pq.ParquetFile(stream)
            rows = next(parquet.iter_batches(64, columns=["source", "images"]), None)
        if rows is None:
            continue
        shown = [row for row in rows.to_pylist() if row["images"]]
        found += [(row["source"], _thumbnail(row["images"][0])) for row in shown[:4]]
    return found[:count]


def _thumbnail(encoded: bytes) -> bytes:
    stream = io.BytesIO()
    with Image.open(io.BytesIO(encoded)) as image:
        small = image.convert("RGB")
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        small.save(stream, "JPEG", quality=80)
    return stream.getvalue()
