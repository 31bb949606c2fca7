"""Whether a model's training data holds a benchmark's items, before a score is believed.

Two answers stand beside every score. What the data's exclusion manifest says
(`data/decontamination`): whether the data was compared with this benchmark. And what the rows
themselves say: items whose picture, or for text items whose question, stands in a training row as
it is. The second is exact and finds no paraphrase; the first is the thorough one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from doctor_sun.cluster import connect
from doctor_sun.errors import InputError
from doctor_sun.evaluation.cleaning import normalise_answer
from doctor_sun.evaluation.tasks import Item, Task
from doctor_sun.runs import read_manifest

COLUMNS = ("image_keys", "turns")
SHORTEST = 20  # characters of a normalised question; shorter ones say nothing
INPUTS = ("checkpoint", "llm", "start_from")


def training_data(model: str | None) -> list[str]:
    """The curated data sets that a model folder's manifests lead back to.

    A folder that was moved or made elsewhere leads nowhere: the list is then empty.
    """
    found: dict[str, None] = {}
    todo, seen = [model] if model else [], set()
    while todo:
        location = todo.pop()
        if location in seen:
            continue
        seen.add(location)
        path = UPath(location)
        manifest = read_manifest(path) or read_manifest(path.parent) or {}
        inputs = {name: entry["path"] for name, entry in manifest.get("inputs", {}).items()}
        todo += [inputs[name] for name in INPUTS if name in inputs]
        if "data" in inputs and UPath(inputs["data"]).is_dir():
            found[inputs["data"]] = None
    return list(found)


@dataclass(frozen=True)
class Needles:
    """What is looked for: pictures and questions, by what names them in a row."""

    pictures: Mapping[str, Sequence[str]]
    """Item ids by the picture's key."""
    questions: Mapping[str, Sequence[str]]
    """Item ids by the normalised question, of items without a picture."""

    @classmethod
    def of(cls, items: Iterator[Item]) -> "Needles":
        """From the items of all tasks."""
        pictures: dict[str, list[str]] = {}
        questions: dict[str, list[str]] = {}
        for item in items:
            if item.image_key:
                pictures.setdefault(item.image_key, []).append(item.id)
            elif len(text := normalise_answer(item.question)) >= SHORTEST:
                questions.setdefault(text, []).append(item.id)
        return cls(pictures, questions)


def found_in(file: str, needles: Needles) -> set[str]:
    """Ids of the items that a file of rows holds."""
    found: set[str] = set()
    with UPath(file).open("rb") as stream:
        for batch in pq.ParquetFile(stream).iter_batches(columns=list(COLUMNS)):
            for keys, turns in zip(
                batch["image_keys"].to_pylist(), batch["turns"].to_pylist(), strict=True
            ):
                for key in keys:
                    found.update(needles.pictures.get(key, ()))
                if needles.questions:
                    for line in _asked_lines(turns):
                        found.update(needles.questions.get(line, ()))
    return found


def _asked_lines(turns: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What a user says, whole and line by line, normalised."""
    for turn in turns:
        if turn["role"] == "user":
            yield normalise_answer(turn["text"])
            yield from map(normalise_answer, turn["text"].split("\n"))


def overlaps(
    items: Mapping[str, Sequence[Item]], folders: Sequence[str], address: str | None
) -> set[str]:
    """Ids of the items that stand in some training data.

    Args:
        items: by task.
        folders: curated data sets, each with `data/*.parquet`.
        address: the Ray cluster.

    Raises:
        InputError: a folder holds no such data.
    """
    files: list[str] = []
    for folder in folders:
        own = sorted(map(str, UPath(folder).glob("data/*.parquet")))
        if not own:
            raise InputError(f"training data {folder} holds no data/*.parquet")
        files += own
    if not files:
        return set()
    needles = Needles.of(item for own in items.values() for item in own)
    found: set[str] = set()
    with connect(address):
        import ray
        import ray.data

        shared = ray.put(needles)

        def look(table: pa.Table) -> pa.Table:
            ids = [
                id for file in table["file"].to_pylist() for id in found_in(file, ray.get(shared))
            ]
            return pa.table({"id": pa.array(ids, pa.string())})

        rows = ray.data.from_items(
            [{"file": file} for file in files], override_num_blocks=len(files)
        )
        for table in rows.map_batches(look, batch_format="pyarrow").iter_batches(
            batch_size=None, batch_format="pyarrow"
        ):
            found.update(table["id"].to_pylist())
    return found


def compared(task: Task, folders: Sequence[str]) -> str:
    """What the exclusion manifests say of the data and a benchmark, in words; "" without data."""
    from doctor_sun.data.decontamination.manifest import FILE, read_exclusions

    if not folders:
        return ""
    manifests = [f for f in folders if (UPath(f) / FILE).is_file()]
    if len(manifests) < len(folders):
        return "was not decontaminated"
    read = [read_exclusions(folder) for folder in manifests]
    if all(exclusions.checked(task.benchmark or task.name) for exclusions in read):
        unsigned = "" if all(e.signed for e in read) else " (its manifest is not signed)"
        return f"was decontaminated of this benchmark{unsigned}"
    return "was not compared with this benchmark"


def report(
    task: Task, items: Sequence[Item], found: set[str], folders: Sequence[str]
) -> dict[str, Any]:
    """One task's entry in `metrics.json`."""
    return {
        "training_data": list(folders),
        "decontaminated": compared(task, folders),
        "items_in_training_data": sum(item.id in found for item in items) if folders else None,
    }


def sentence(known: Mapping[str, Any]) -> str:
    """One task's entry in words."""
    count = known["items_in_training_data"]
    if count is None:
        return "no training data was found, or named, to look for them in"
    return f"{count} stand as they are in the training data, which {known['decontaminated']}"
