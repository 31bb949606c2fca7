"""The corpus: deterministic rows, held-out truth kept apart, sizes as asked, faults as planted."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from upath import UPath

from doctor_sun.data.tiny.benchmark import PhantomBenchmark
from doctor_sun.data.tiny.corpus import (
    ROWS,
    CorpusConfig,
    Materials,
    load_materials,
    plan_shards,
    rows_by_source,
    run,
)
from doctor_sun.data.tiny.outlines import anatomy_split
from doctor_sun.data.tiny.phantom import HELD_OUT_CELLS, draw_phantom
from doctor_sun.data.tiny.plants import EDITS, make_plant
from doctor_sun.data.tiny.pretraining_text import pretraining_table
from doctor_sun.data.tiny.source import seed_for
from doctor_sun.evaluation.tasks import TASKS
from doctor_sun.records import SCHEMA, check_sample, image_key, text_of


@pytest.fixture(scope="module")
def materials() -> Materials:
    return load_materials(CorpusConfig(output="", offline=True))


@pytest.mark.parametrize("name", list(ROWS))
def test_a_row_follows_from_its_index(materials: Materials, name: str) -> None:
    source = materials.sources[name]
    again = load_materials(CorpusConfig(output="", offline=True)).sources[name]
    for index in (0, 1, 17):
        sample = source.sample(index)
        check_sample(sample)
        assert sample == again.sample(index)
    assert source.sample(0)["id"] != source.sample(1)["id"]
    assert {source.sample(i)["language"] for i in range(20)} <= {"en", "zh"}


def test_no_held_out_truth_is_trained_on(materials: Materials) -> None:
    outlines = materials.outlines
    for stream in ("phantom_captions", "phantom_vqa", "captioned"):
        for index in range(300):
            phantom = draw_phantom(seed_for(0, stream, index), outlines, "train")
            assert anatomy_split(outlines.names[phantom.anatomy]) == "train"
            assert phantom.cell not in HELD_OUT_CELLS


def test_benchmark_is_balanced_and_held_out(materials: Materials) -> None:
    test = PhantomBenchmark(materials.outlines, 64, 0, "test")
    easy, hard = test.rows(240, "anatomy"), test.rows(48, "combination")
    assert len(easy) == 240
    assert len({row["id"] for row in easy + hard}) == len(easy + hard)
    for row in easy + hard:
        assert anatomy_split(row["anatomy"]) == "test"
        assert row["answer"] in row["options"]
    held_out = {(c.finding, c.side, c.zone) for c in HELD_OUT_CELLS}
    assert all((r["finding"], r["side"], r["zone"]) in held_out for r in hard)
    assert not any((r["finding"], r["side"], r["zone"]) in held_out for r in easy)
    for kind, share in (("abnormality", 0.2), ("side", 0.55), ("zone", 0.4), ("yes_no", 0.55)):
        for language in ("en", "zh"):
            answers = Counter(
                r["answer"] for r in easy if (r["kind"], r["language"]) == (kind, language)
            )
            assert max(answers.values()) / answers.total() <= share
    pictures = Counter(row["image_key"] for row in easy)
    assert set(pictures.values()) == {2}  # each picture is asked about in both languages


@pytest.mark.parametrize("total", [1000, 17900, 1_000_000])
def test_sizes_add_up(total: int) -> None:
    capacities = {name: None if "phantom" in name or "general_" in name else 3000 for name in ROWS}
    rows = rows_by_source(total, capacities)
    assert sum(rows.values()) == total
    assert all(rows[name] <= (capacity or total) for name, capacity in capacities.items())
    config = CorpusConfig(output="", rows=total)
    shards = [shard for shard in plan_shards(config, rows) if shard.what == "raw"]
    assert sum(shard.stop - shard.start for shard in shards) == total
    assert max(shard.stop - shard.start for shard in shards) <= config.rows_per_file


@pytest.mark.parametrize("kind", list(EDITS))
def test_plants_are_what_they_say(materials: Materials, kind: str) -> None:
    if kind in ("clinical_twin", "shuffled"):
        name = "openi_reports"
    else:
        name = "general_text" if kind == "charset" else "disease_knowledge"
    source = materials.sources[name]
    made = [make_plant(kind, number, source, source.capacity or 100, 0) for number in range(12)]
    plants = [plant for plant in made if plant is not None]
    assert plants
    for plant in plants:
        check_sample(plant.sample)
        assert plant.sample["id"] != plant.twin
        if kind == "identifier":
            for span in json.loads(plant.detail):
                text = plant.sample["turns"][span["turn"]]["text"]
                assert (
                    4
                    <= len(text[span["start"] : span["end"]].strip())
                    == (span["end"] - span["start"])
                )


def test_exact_plants_have_equal_pixels_in_other_bytes(materials: Materials) -> None:
    source = materials.sources["phantom_vqa"]
    plant = make_plant("exact_duplicate", 3, source, 50, 0)
    assert plant is not None
    twin = next(s for s in map(source.sample, range(50)) if s["id"] == plant.twin)
    assert plant.sample["images"] != twin["images"]
    assert image_key(plant.sample["images"][0]) == twin["image_keys"][0]
    assert text_of(plant.sample["turns"]) == text_of(twin["turns"])


def test_pretraining_text_is_plain(materials: Materials) -> None:
    table = pretraining_table(materials.sources, 0)
    assert set(table["language"].to_pylist()) == {"en", "zh"}
    for text in table["text"].to_pylist():
        assert text.strip()
        assert "<image>" not in text


@pytest.mark.slow
def test_the_job_writes_what_it_says(tmp_path: Path, ray_cluster: None) -> None:
    config = CorpusConfig(
        output=str(tmp_path / "corpus"),
        rows=400,
        captioned_images=40,
        benchmark_items=32,
        combination_items=8,
        validation_items=8,
        rows_per_file=100,
        offline=True,
    )
    manifest = run(config)
    root = tmp_path / "corpus"
    rows: list[dict[str, Any]] = []
    for file in sorted(root.glob("raw/*/*.parquet")):
        table = pq.read_table(file)
        assert table.schema.names == SCHEMA.names
        rows += table.to_pylist()
    for file in sorted(root.glob("raw/*/*.jsonl")):
        rows += [json.loads(line) for line in file.read_text().splitlines()]
    truth = pq.read_table(root / "truth" / "planted.parquet").to_pylist()
    assert len(rows) == 400 + len(truth)
    ids = {row["id"] for row in rows}
    assert len(ids) == len(rows)
    assert {row["id"] for row in truth} <= ids
    assert {row["twin"] for row in truth} <= ids
    trained = {key for row in rows for key in row["image_keys"]}
    asked = pq.read_table(root / "benchmark" / "phantom.parquet")
    assert asked.num_rows == 40
    assert not trained & set(asked["image_key"].to_pylist())
    shapes = list(TASKS["shapes"].load(UPath(root / "benchmark"), "published"))
    assert not trained & {item.image_key for item in shapes}
    answers = Counter((item.groups["kind"], item.answer) for item in shapes)
    for kind in ("colour", "shape", "place", "yes_no"):
        counts = [count for (own, _), count in answers.items() if own == kind]
        assert max(counts) - min(counts) <= 1  # guessing the most frequent answer pays nothing
    before = {file: file.stat().st_mtime_ns for file in root.rglob("*.parquet")}
    assert run(config) == manifest
    (root / "manifest.json").unlink()  # interrupted: only what is missing is written again
    next(root.glob("raw/phantom_vqa/*.parquet")).unlink()
    assert run(config)["output_hash"] == manifest["output_hash"]
    kept = [file for file, time in before.items() if file.stat().st_mtime_ns == time]
    assert sum("raw" in str(file) for file in kept) >= len(list(root.glob("raw/*/*.parquet"))) - 1
