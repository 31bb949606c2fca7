"""No two kept rows are near duplicates; a crash, an order or an index changes nothing."""

import json
import os
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.data
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from doctor_sun.data import near_duplicates, near_vectors
from doctor_sun.data.embeddings import EncoderConfig
from doctor_sun.data.ledger import StepResult
from doctor_sun.data.near_confirm import APART, LINEAGE, OTHER_WORDS, SAME, confirm, removals
from doctor_sun.data.near_duplicates import NearDuplicatesConfig, decide, near_pairs
from doctor_sun.data.packaged_encoder import encoder_folder
from doctor_sun.data.rows import THIN_SCHEMA, tables
from doctor_sun.data.vector_pairs import SearchConfig
from doctor_sun.errors import InputError

Edges = set[tuple[int, int]]
NUMBERS = re.compile(r"\d+")
FINDINGS = ("a small nodule", "an old scar", "pleural fluid", "a healed fracture", "free air")
PLACES = ("left upper lobe", "right lower lobe", "left hilum", "right apex", "lingula")


# The greedy keeper


def walked(edges: Mapping[int, set[int]], count: int) -> set[int]:
    """The plain walk, best first: who goes."""
    kept: set[int] = set()
    for row in range(count):
        if not edges.get(row, set()) & kept:
            kept.add(row)
    return set(range(count)) - kept


@settings(deadline=None)
@given(st.sets(st.tuples(st.integers(0, 20), st.integers(0, 20)).filter(lambda p: p[0] < p[1])))
def test_removals_are_those_of_a_walk_over_the_rows(edges: Edges) -> None:
    better: dict[int, set[int]] = {}
    for first, second in edges:
        better.setdefault(second, set()).add(first)
    pairs = np.array(sorted(edges), np.int64).reshape(-1, 2)
    cosines = np.full(len(pairs), 0.97, np.float32)
    chosen = removals(pairs[:, 0], pairs[:, 1], cosines, np.arange(21, dtype=np.uint64))
    gone = {int(b): int(a) for a, b in pairs[chosen]}
    assert set(gone) == walked(better, 21)
    assert not set(gone.values()) & set(gone)  # every twin is kept
    kept = set(range(21)) - set(gone)
    assert not any(a in kept and b in kept for a, b in edges)


def test_of_several_kept_twins_the_nearest_is_named() -> None:
    first, second = np.array([0, 1, 2]), np.array([3, 3, 3])
    cosines = np.array([0.97, 0.99, 0.99], np.float32)
    assert removals(first, second, cosines, np.array([0, 2, 1, 3], np.uint64)).tolist() == [2]


def test_a_chain_removes_only_what_a_kept_row_resembles() -> None:
    first = np.arange(9)
    chosen = removals(
        first, first + 1, np.full(9, 0.95, np.float32), np.arange(10, dtype=np.uint64)
    )
    assert (first + 1)[chosen].tolist() == [1, 3, 5, 7, 9]


# Confirmation


def text_row(number: int, text: str, **columns: Any) -> dict[str, Any]:
    row = {"source": "s", "part": 0, "row": number, "parents": [], "known": False}
    return (
        {"number": number, "id": f"id{number}", "text": text, "length": len(text)} | row | columns
    )


def verdicts(rows: Sequence[dict[str, Any]], agreement: float = 0.6) -> dict[tuple[str, str], str]:
    numbers = [row["number"] for row in rows]
    pairs = [(a, b) for a in numbers for b in numbers if a < b]
    table = pa.table(
        {
            "a": [a for a, _ in pairs],
            "b": [b for _, b in pairs],
            "cosine": pa.array([0.99] * len(pairs), pa.float32()),
        }
    )
    confirmed = confirm(rows, table, agreement, ["best"]).to_pylist()
    return {(line["a"], line["b"]): line["verdict"] for line in confirmed}


def test_the_guard_keeps_clinical_twins_apart() -> None:
    rows = [
        text_row(0, "A small nodule is seen in the left upper lobe of the lung."),
        text_row(1, "A small nodule is seen in the right upper lobe of the lung."),
        text_row(2, "Small nodule is seen in the left upper lobe of the lung"),
        text_row(3, "The heart is of normal size."),
    ]
    found = verdicts(rows)
    assert found["id1", "id0"] == APART  # the longer one is the better one
    assert found["id0", "id2"] == SAME
    assert found["id1", "id3"] == OTHER_WORDS


def test_what_was_made_from_a_row_is_no_duplicate_of_it() -> None:
    text = "The left lung shows a small nodule in the upper lobe."
    rows = [text_row(0, text), text_row(1, text, parents=["id0"]), text_row(2, text)]
    found = verdicts(rows)
    assert found["id0", "id1"] == LINEAGE
    assert found["id0", "id2"] == found["id1", "id2"] == SAME


def test_known_rows_come_first_then_source_then_length() -> None:
    text = "The left lung shows a small nodule in the upper lobe."
    rows = [
        text_row(0, text),
        text_row(1, text, source="best"),
        text_row(2, text, known=True),
        text_row(3, text + "!"),
    ]
    assert set(verdicts(rows)) == {
        *(("id2", "id1"), ("id2", "id3"), ("id2", "id0")),
        *(("id1", "id3"), ("id1", "id0"), ("id3", "id0")),
    }


# The search alone


@pytest.mark.slow
def test_pairs_by_ids_from_an_array_or_a_data_set(ray_cluster: None) -> None:
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(40, 16))[rng.integers(40, size=150)] + 0.2 * rng.normal(
        size=(150, 16)
    )
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    ids = [f"id{i:03d}" for i in range(150)]
    cosines = vectors @ vectors.T
    first, second = np.nonzero(np.triu(cosines >= 0.9, 1))
    expected = {(ids[a], ids[b]): cosines[a, b] for a, b in zip(first, second, strict=True)}
    assert len(expected) > 20
    named = [{"name": ids[i], "vector": vectors[i].tolist()} for i in range(150)]
    for table in (
        near_pairs(ids, vectors, 0.9),
        near_pairs("name", ray.data.from_items(named, override_num_blocks=4), 0.9),
    ):
        found = {tuple(sorted((p["a"], p["b"]))): p["cosine"] for p in table.to_pylist()}
        assert table.num_rows == len(expected)
        assert found == pytest.approx(expected, abs=1e-5)
    numbers = near_pairs(np.arange(150), vectors, 0.9)
    assert numbers.schema.field("a").type == pa.int64()
    assert near_pairs([], vectors[:0], 0.9).num_rows == 0
    with pytest.raises(ValueError, match="149 ids for 150 vectors"):
        near_pairs(ids[1:], vectors, 0.9)


# The step


def sample(number: int, text: str, **columns: Any) -> dict[str, Any]:
    row = {
        **{"id": f"{number:04d}", "source": "s", "domain": "medical", "language": "en"},
        **{"task": "instruction", "split": "train", "image_keys": [], "fingerprints": []},
        **{"turns": [{"role": "assistant", "text": text}], "parents": []},
        **{"part": number // 20, "row": number % 20},
    }
    return row | columns


def reports() -> list[dict[str, Any]]:
    """120 reports: every third once more with other punctuation, every seventh of another patient;
    sources take turns, so that twins stand in either.
    """
    rng = np.random.default_rng(0)
    texts: list[str] = []
    while len(texts) < 120:
        number = len(texts)
        words = " and ".join(rng.choice(FINDINGS, 3, replace=False))
        text = f"Film {number}: there is {words} in the {rng.choice(PLACES)}, patient {number}."
        texts.append(text)
        if number % 3 == 0:
            texts.append(text.replace(",", " ;").replace("Film", "film"))
        if number % 7 == 0:
            texts.append(text.replace(f"patient {number}", f"patient {number + 1}"))
    sources = ("old", "new")
    return [sample(n, text, source=sources[n % 2]) for n, text in enumerate(texts[:120])]


def scoped() -> list[dict[str, Any]]:
    """Nearly one text in other languages, with other pictures, and made from another row."""
    text = "There is a small nodule in the left upper lobe."
    changes: list[dict[str, Any]] = [
        {},
        {"turns": [{"role": "assistant", "text": text + "!"}]},
        {"language": "zh"},
        {"image_keys": ["k1"]},
        {"image_keys": ["k2"]},
        {"image_keys": ["k2"]},
        {"parents": ["9000"]},
    ]
    return [sample(9000 + n, text, part=9, row=n, **more) for n, more in enumerate(changes)]


def everything() -> list[dict[str, Any]]:
    return reports() + scoped()


def dataset(rows: Sequence[dict[str, Any]]) -> ray.data.Dataset:
    parts: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(row["part"], []).append(row)
    return ray.data.from_arrow([pa.Table.from_pylist(p, THIN_SCHEMA) for p in parts.values()])


def settings_for(**changes: Any) -> NearDuplicatesConfig:
    encoder = EncoderConfig(folder=str(encoder_folder(offline=True)), max_tokens=64, actors=1)
    values = {"encoder": encoder, "threshold": 0.9, "source_priority": ["old", "new"]}
    return NearDuplicatesConfig(**(values | changes))


def twins(result: StepResult) -> dict[str, str]:
    """Dropped id to kept id; every row has one line."""
    lines = [line for table in tables(result.lines) for line in table.to_pylist()]
    assert len({line["id"] for line in lines}) == len(lines)
    return {
        line["id"]: json.loads(line["evidence"])["kept"]
        for line in lines
        if line["verdict"] == "dropped"
    }


@pytest.fixture(scope="module")
def first_run(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    work = UPath(tmp_path_factory.mktemp("first"))
    result = decide(dataset(everything()), settings_for(), work)
    return work, result, twins(result)


@pytest.mark.slow
def test_repeated_reports_go_and_clinical_differences_stay(first_run: tuple[Any, ...]) -> None:
    work, result, gone = first_run
    texts = {row["id"]: row["turns"][0]["text"] for row in everything()}
    repeated = {id for id, text in texts.items() if text.startswith("film")}
    assert set(gone) | set(gone.values()) >= repeated
    for id, kept in gone.items():
        assert kept not in gone
        assert NUMBERS.findall(texts[id]) == NUMBERS.findall(texts[kept])
    figures = result.figures
    assert figures["rows_compared"] == 125
    assert figures["texts_encoded"] == 122  # the distinct ones
    assert figures["kept_apart_by_guard"]["number"] > 5
    assert figures["pairs_saved_by_guard"] > 5
    assert sum(figures["cluster_sizes"].values()) == len(set(gone.values()))
    files = Path(str(work / "pairs")).glob("*.parquet")
    pairs = pa.concat_tables([pq.read_table(file) for file in files])
    assert pairs.num_rows == figures["candidate_pairs"]
    assert not set(pairs.column_names) & {"text", "turns"}


@pytest.mark.slow
def test_order_blocks_and_partitions_change_nothing(
    first_run: tuple[Any, ...], tmp_path: Path
) -> None:
    rows = everything()
    order = np.random.default_rng(1).permutation(len(rows))
    shuffled = [rows[i] | {"part": int(n) // 50, "row": int(n) % 50} for n, i in enumerate(order)]
    cells = SearchConfig(exact_below=10, bundle_rows=50, cell_rows=10, reach=1, most_visits=99)
    result = decide(dataset(shuffled), settings_for(search=cells), UPath(tmp_path))
    assert twins(result) == first_run[2]


@pytest.mark.slow
def test_an_index_drops_what_one_run_over_all_drops(
    first_run: tuple[Any, ...], tmp_path: Path
) -> None:
    old, new = ([row for row in reports() if row["source"] == name] for name in ("old", "new"))
    gone = twins(decide(dataset(old), settings_for(), UPath(tmp_path / "old")))
    index = tmp_path / "old" / "index"
    result = decide(dataset(new), settings_for(index=str(index)), UPath(tmp_path / "new"))
    assert result.figures["texts_encoded"] == len(new)  # the old vectors are taken over
    assert gone | twins(result) == {a: b for a, b in first_run[2].items() if a < "9000"}
    kept = pa.concat_tables(
        [pq.read_table(f) for f in (tmp_path / "new" / "index" / "rows").glob("*.parquet")]
    )
    left = {row["id"] for row in reports()} - set(first_run[2])
    assert set(kept["id"].to_pylist()) == left


@pytest.mark.slow
def test_an_index_by_another_encoder_is_refused(first_run: tuple[Any, ...], tmp_path: Path) -> None:
    config = settings_for(index=str(first_run[0] / "index"))
    config.encoder.max_tokens = 32
    with pytest.raises(InputError, match="another encoder"):
        decide(dataset(reports()[:20]), config, UPath(tmp_path))
    with pytest.raises(InputError, match="is not an index"):
        decide(dataset(reports()[:20]), settings_for(index=str(tmp_path)), UPath(tmp_path))


@pytest.mark.slow
def test_rows_are_compared_by_language_and_pictures(first_run: tuple[Any, ...]) -> None:
    gone = {id: kept for id, kept in first_run[2].items() if id >= "9000"}
    assert gone == {"9005": "9004", "9006": "9001", "9000": "9001"}


@pytest.mark.slow
def test_where_nothing_is_to_be_compared_nothing_is_encoded(
    ray_cluster: None, tmp_path: Path
) -> None:
    result = decide(dataset([sample(0, "Clear lungs.")]), settings_for(), UPath(tmp_path))
    assert twins(result) == {}
    assert result.figures["rows_compared"] == result.figures["texts_encoded"] == 0


# Resume


class Dying(near_vectors.ShardEncoder):
    """Kills its process at its first job of all."""

    def _do(self, job: Mapping[str, Any]) -> int:
        mark = Path(job["file"]).parent / "killed"
        if not mark.exists():
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._do(job)


@pytest.mark.slow
def test_after_a_killed_worker_and_an_interruption_nothing_is_encoded_twice(
    first_run: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, rows = UPath(tmp_path), dataset(everything())

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(near_vectors, "ShardEncoder", Dying)
        patched.setattr(near_duplicates, "_candidates", stop)
        with pytest.raises(KeyboardInterrupt):
            decide(rows, settings_for(), work)
    assert (tmp_path / "vectors" / "killed").exists()
    vectors = sorted((tmp_path / "vectors").glob("*.arrow"))
    written = {file: file.stat().st_mtime_ns for file in vectors}
    assert written
    resumed = decide(rows, settings_for(), work)
    assert resumed.figures["texts_encoded"] == 0
    assert {file: file.stat().st_mtime_ns for file in written} == written
    assert twins(resumed) == first_run[2]
    assert twins(decide(rows, settings_for(), work)) == first_run[2]  # decided: only read
