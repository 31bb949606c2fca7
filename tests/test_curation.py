"""The whole curation on a small corpus with known faults: accounts, recall, resume, bad input."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from upath import UPath

from doctor_sun.data import curation, exact_duplicates
from doctor_sun.data.curation import CurateConfig
from doctor_sun.data.embeddings import EncoderConfig
from doctor_sun.data.exact_duplicates import ExactDuplicatesConfig
from doctor_sun.data.ingest import IngestConfig, drop_repeated_ids, ingest, shards_of
from doctor_sun.data.ledger import LINES, Ledger, ledger_table
from doctor_sun.data.near_duplicates import NearDuplicatesConfig
from doctor_sun.data.packaged_encoder import encoder_folder
from doctor_sun.data.rows import collect, rows_after
from doctor_sun.data.selection import SelectionConfig
from doctor_sun.data.sources import SourceConfig, open_source
from doctor_sun.data.tiny import corpus
from doctor_sun.data.tiny.plants import PlantRates
from doctor_sun.errors import InputError, one_line_errors
from doctor_sun.records import check_sample, text_of

pytestmark = pytest.mark.slow
ORDER = ["exact_duplicates", "charset", "privacy", "near_duplicates", "selection"]
LEAST_RECALL = {
    "exact_duplicate": 1.0,
    "near_duplicate": 0.9,
    "identifier": 0.95,
    "charset": 0.95,
    "junk": 0.95,
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    """A small corpus with many faults, made without any package."""
    rates = PlantRates(identifier=0.1, charset=0.06, junk=0.06, clinical_twin=0.1)
    folder = tmp_path_factory.mktemp("corpus")
    config = corpus.CorpusConfig(
        output=str(folder / "corpus"),
        rows=600,
        captioned_images=4,
        benchmark_items=8,
        combination_items=8,
        validation_items=8,
        rows_per_file=100,
        plants=rates,
        offline=True,
    )
    corpus.run(config)
    return folder / "corpus"


def config_for(corpus_folder: Path, output: Path, **changes: Any) -> CurateConfig:
    encoder = EncoderConfig(folder=str(encoder_folder(offline=True)), max_tokens=64, actors=1)
    values: dict[str, Any] = {
        "raw": str(corpus_folder / "raw"),
        "truth": str(corpus_folder / "truth" / "planted.parquet"),
        "output": str(output),
        "order": ORDER,
        "near_duplicates": NearDuplicatesConfig(encoder=encoder),
        "selection": SelectionConfig(ratios={"phantom_captions": 0.5}),
    }
    return CurateConfig(**(values | changes))


@pytest.fixture(scope="module")
def curated(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("curated") / "curate"
    curation.run(config_for(raw, output))
    return output


def rows_of(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def raw_rows(folder: Path) -> list[dict[str, Any]]:
    shards = shards_of([open_source(SourceConfig(kind="samples", path=str(folder)))])
    return [row for shard in shards for _, row in shard.source.read(shard.name)]


def test_every_row_is_accounted_for(raw: Path, curated: Path) -> None:
    manifest = json.loads((curated / "manifest.json").read_text())
    steps = manifest["counts"]["steps"].values()
    for before, after in zip(list(steps)[:-1], list(steps)[1:], strict=True):
        assert before["out"] == before["in"] - before["dropped"] == after["in"]
    ledger = ledger_table(curated).to_pylist()
    dropped = [entry["id"] for entry in ledger if entry["verdict"] == "dropped"]
    kept = rows_of(curated / "data")
    source_ids = {row["id"] for row in raw_rows(raw / "raw")}
    assert len(set(dropped)) == len(dropped)
    assert {row["id"] for row in kept} | set(dropped) == source_ids
    assert len(kept) + len(dropped) == len(source_ids) == manifest["counts"]["rows_in"]
    for row in kept:
        check_sample(row)
    edited = {entry["id"] for entry in ledger if entry["verdict"] == "edited"}
    assert {row["id"] for row in kept if row["made_by"]} == edited - set(dropped)
    sizes = Counter(row["source"] for row in kept)
    assert dict(sizes) == manifest["counts"]["by_source"]


def test_planted_faults_are_found(curated: Path) -> None:
    planted = json.loads((curated / "manifest.json").read_text())["figures"]["planted"]
    print(json.dumps(planted, indent=1))
    for kind, least in LEAST_RECALL.items():
        found = planted[kind]
        assert found["planted"] >= 5, kind
        assert found["found"] >= least * found["planted"], (kind, found)
    assert planted["clinical_twin"]["found"] == 0
    false = planted["not_planted"]
    assert false.get("charset", 0) <= 2
    assert false.get("privacy", 0) == 0
    assert false.get("near_duplicates", 0) <= 0.02 * 600


def test_no_identifier_is_left_and_none_is_in_the_ledger(raw: Path, curated: Path) -> None:
    truth = pq.read_table(raw / "truth" / "planted.parquet").to_pylist()
    spans = {row["id"]: row["detail"] for row in truth if row["plant"] == "identifier"}
    secrets: dict[str, list[str]] = {}
    for row in raw_rows(raw / "raw"):
        said = [turn["text"] for turn in row["turns"]]
        for span in json.loads(spans.get(row["id"], "[]")):
            value = said[span["turn"]][span["start"] : span["end"]]
            secrets.setdefault(row["id"], []).append(value)
    kept = {row["id"]: text_of(row["turns"]) for row in rows_of(curated / "data")}
    ledger = json.dumps(ledger_table(curated).to_pylist(), ensure_ascii=False)
    assert len(secrets) >= 10
    for id, values in secrets.items():
        for value in values:
            assert value not in kept.get(id, "")
            assert len(value) < 4 or value not in ledger


def test_the_twin_of_a_removed_row_passed_that_step(curated: Path) -> None:
    twins: dict[str, set[str]] = {}
    dropped: dict[str, set[str]] = {}
    for entry in ledger_table(curated).to_pylist():
        twin = json.loads(entry["evidence"]).get("kept")
        if twin:
            twins.setdefault(entry["step"], set()).add(twin)
        if entry["verdict"] == "dropped":
            dropped.setdefault(entry["step"], set()).add(entry["id"])
    assert len(twins) == 2
    for step, kept in twins.items():
        assert not kept & dropped[step]


def test_the_report_names_no_row_text(curated: Path) -> None:
    page = (curated / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "Planted faults" in page
    assert (curated / "review" / "queue.parquet").exists()


def test_stopping_and_resuming_repeats_nothing(raw: Path, tmp_path: Path) -> None:
    output, order = tmp_path / "curate", ["exact_duplicates", "charset", "selection"]
    assert curation.run(config_for(raw, output, order=order, stop_after="charset")) == {}
    assert not (output / "manifest.json").exists()
    before = {file: file.stat().st_mtime_ns for file in (output / "ledger").rglob("*.parquet")}
    assert len(list((output / "ledger").glob("*"))) == 4
    manifest = curation.run(config_for(raw, output, order=order))
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    assert manifest["counts"]["rows_out"] == len(rows_of(output / "data"))
    assert len(list((output / "ledger").glob("*"))) == 5


def take_in(folder: Path, output: Path, config: IngestConfig) -> Ledger:
    """A ledger of the samples below a folder."""
    ledger = Ledger(UPath(output))
    shards = shards_of([open_source(SourceConfig(kind="samples", path=str(folder)))])
    ledger.record("00-ingest", ingest(shards, ledger.thin, config), lambda: 0.0)
    return ledger


def test_the_same_rows_are_kept_whatever_the_blocks(
    raw: Path, curated: Path, tmp_path: Path
) -> None:
    """Duplicates decided again on one block, over other partitions, are the same."""
    rows = rows_after(take_in(raw / "raw", tmp_path, IngestConfig())).repartition(1)
    exact = exact_duplicates.decide(rows, ExactDuplicatesConfig(partitions=5), UPath(tmp_path))
    again = [line for line in collect(exact.lines, LINES).to_pylist() if line["verdict"]]
    entries = ledger_table(curated, ["02-exact_duplicates"]).to_pylist()
    assert len(entries) > 5
    assert sorted((line["id"], line["evidence"]) for line in again) == sorted(
        (entry["id"], entry["evidence"]) for entry in entries
    )


def test_rows_as_they_came_in_do_not_stay(raw: Path, curated: Path) -> None:
    rows = curated / "steps" / "rows"
    assert not rows.exists()
    rows.mkdir()  # of a run that died after its manifest
    (rows / "000000.parquet").touch()
    curation.run(config_for(raw, curated))
    assert not rows.exists()


def test_a_malformed_line_names_file_and_row(
    raw: Path, tmp_path: Path, ray_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    good = next((raw / "raw" / "general_text").glob("*.jsonl")).read_text().splitlines()
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "text.jsonl").write_text("\n".join([good[0], good[1], '{"id": "x", ', good[2]]))
    with pytest.raises(SystemExit), one_line_errors():
        take_in(folder, tmp_path / "stopped", IngestConfig())
    assert "text.jsonl, row 3: malformed JSON" in capsys.readouterr().err.splitlines()[-1]
    ledger = take_in(folder, tmp_path / "out", IngestConfig(on_bad_row="ledger"))
    assert sum(ledger.stages[0].rows_in.values()) == 4
    assert ledger.stages[0].rows_out().total() == 3
    (entry,) = ledger_table(tmp_path / "out").to_pylist()
    assert json.loads(entry["evidence"])["row"] == 3


def test_a_repeated_id_is_dropped_wherever_it_stands(
    raw: Path, tmp_path: Path, ray_cluster: None
) -> None:
    lines = next((raw / "raw" / "general_text").glob("*.jsonl")).read_text().splitlines()
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "a.jsonl").write_text("\n".join([*lines[:3], lines[1]]))
    (folder / "b.jsonl").write_text("\n".join([lines[5], lines[0]]))
    ledger = take_in(folder, tmp_path / "out", IngestConfig(on_bad_row="ledger"))
    ledger.record("01-repeated_ids", drop_repeated_ids(rows_after(ledger)), lambda: 0.0)
    left = [row["id"] for row in rows_after(ledger).iter_rows()]
    assert sorted(left) == sorted(json.loads(lines[n])["id"] for n in (0, 1, 2, 5))
    assert [stage.by_source("dropped").total() for stage in ledger.stages] == [1, 1]


def test_an_unreadable_picture_names_file_and_row(
    raw: Path, tmp_path: Path, ray_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = next((raw / "raw" / "phantom_vqa").glob("rows*.parquet"))
    rows = pq.read_table(file).slice(0, 3).to_pylist()
    rows[1]["images"] = [rows[1]["images"][0][:200]]
    (tmp_path / "raw").mkdir()
    pq.write_table(corpus.to_table(rows), tmp_path / "raw" / "pictures.parquet")
    with pytest.raises(SystemExit), one_line_errors():
        take_in(tmp_path / "raw", tmp_path / "out", IngestConfig())
    assert "pictures.parquet, row 2: unreadable image" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": ["exact_duplicate"]}, "nearest known key is 'exact_duplicates'"),
        ({"order": ["charset", "charset"]}, "twice"),
        ({"order": ["perplexity"]}, "perplexity.model"),
        ({"raw": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"raw": None}, "nothing to curate"),
        ({"stop_after": "charsets"}, "nearest known key is 'charset'"),
    ],
)
def test_a_wrong_configuration_is_refused(
    raw: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        curation.run(config_for(raw, tmp_path / "x", **changes))
