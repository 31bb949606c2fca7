"""Each source reads its publisher's layout: samples that hold, faults that name row and reason."""

import pickle
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from upath import UPath

from doctor_sun.data.sources import SOURCES, Fault, SourceConfig, open_source, registry
from doctor_sun.data.sources import pieces as pieces_module
from doctor_sun.data.sources.registry import OpenSource
from doctor_sun.data.sources.source import Sample
from doctor_sun.errors import InputError
from doctor_sun.records import SCHEMA, check_sample, sha256, to_table
from tests.published_sets import (
    SETS,
    PublishedSet,
    bunny,
    lines,
    picture,
    pmc_oa,
    table,
    write,
    zipped,
)

names = [f"{number}-{made.kind}" for number, made in enumerate(SETS)]
each_set = pytest.mark.parametrize("made", SETS, ids=names)


def opened(made: PublishedSet, root: UPath) -> OpenSource:
    made.make(root)
    config = SourceConfig(
        kind=made.kind, path=str(root), splits=list(made.splits), options=dict(made.options)
    )
    return open_source(config)


def rows(source: OpenSource) -> list[tuple[str, int, Sample | Fault]]:
    return [(shard, *row) for shard in source.shards() for row in source.read(shard)]


def split_up(found: list[tuple[str, int, Sample | Fault]]) -> tuple[list[Sample], list[Fault]]:
    samples = [row for _, _, row in found if not isinstance(row, Fault)]
    return samples, [row for _, _, row in found if isinstance(row, Fault)]


@each_set
def test_samples_hold_and_faults_are_named(made: PublishedSet, tmp_path: Path) -> None:
    samples, faults = split_up(rows(opened(made, UPath(tmp_path))))
    assert sorted(fault.reason for fault in faults) == sorted(made.faults)
    assert len(samples) == made.samples
    assert len({sample["id"] for sample in samples}) == len(samples)
    card = SOURCES[made.kind].card
    for sample in samples:
        check_sample(sample)
        assert list(sample) == SCHEMA.names
        assert sample["source"] == made.kind
        assert sample["domain"] == card.domain
        assert sample["language"] in card.languages
        assert sample["split"] in ("train", *made.splits)
        assert sample["image_keys"] == []
        assert all(isinstance(image, bytes) and image for image in sample["images"])
    assert to_table(samples).num_rows == made.samples
    assert all(fault.key for fault in faults)


@each_set
def test_reading_again_and_in_small_pieces_gives_the_same(
    made: PublishedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened(made, UPath(tmp_path))
    found = rows(source)
    assert rows(source) == found
    monkeypatch.setattr(pieces_module, "PIECE_BYTES", 12)
    monkeypatch.setattr(pieces_module, "PIECE_ROWS", 1)
    shards = source.shards()
    backwards = {shard: list(source.read(shard)) for shard in reversed(shards)}
    small = [row for shard in shards for _, row in backwards[shard]]
    assert len(shards) > len({shard for shard, _, _ in found}) or len(found) < 3
    for row, (_, _, before) in zip(small, found, strict=True):
        repeated = isinstance(before, Fault) and before.reason == "repeated key"
        assert row == before or repeated  # a key is looked for within a piece
    for shard in shards:
        assert [number for number, _ in backwards[shard]] == list(
            range(1, len(backwards[shard]) + 1)
        )


@each_set
def test_memory_file_system(made: PublishedSet, tmp_path: Path) -> None:
    remote = UPath(f"memory://sources/{tmp_path.parent.name}/{tmp_path.name}")
    here, there = opened(made, UPath(tmp_path)), opened(made, remote)
    assert there.path.startswith("memory://")
    assert rows(there) == rows(here)


def test_a_clef_picture_is_the_parent_of_its_questions(tmp_path: Path) -> None:
    made = next(made for made in SETS if made.kind == "vqa_med_2019")
    samples, _ = split_up(rows(opened(made, UPath(tmp_path))))
    of_first = [s for s in samples if s["parents"] == [sha256("vqa_med_2019", "synpic100")]]
    assert len(of_first) == 3
    assert {s["images"][0] for s in of_first} == {of_first[0]["images"][0]}
    (other,) = [s for s in samples if s not in of_first]
    assert other["turns"][1]["text"] == "pneumothorax"  # the first way to say it


def test_conversations_say_what_the_publisher_says(tmp_path: Path) -> None:
    bunny(UPath(tmp_path), "bunny_695k.json")
    source = open_source(SourceConfig(kind="bunny_finetune", path=str(tmp_path), name="general"))
    samples, _ = split_up(rows(source))
    assert samples[1]["turns"] == [
        {"role": "user", "text": "<image>\nLook:"},
        {"role": "assistant", "text": "Two [cats], {one}."},
    ]
    assert [s["task"] for s in samples] == ["vqa", "vqa", "instruction"]
    assert {s["source"] for s in samples} == {"general"} == {source.name}


def test_captions_are_asked_for_in_many_ways_that_keys_choose(tmp_path: Path) -> None:
    count = 60
    text = [f"ROCO_{n:05d}\tCaption {n}" for n in range(count)]
    lines(UPath(tmp_path) / "data/train/radiology/captions.txt", text)
    for n in range(count):
        write(UPath(tmp_path) / f"data/train/radiology/images/ROCO_{n:05d}.jpg", picture(n, 8))
    source = open_source(SourceConfig(kind="roco", path=str(tmp_path)))
    samples, _ = split_up(rows(source))
    asked = [sample["turns"][0]["text"] for sample in samples]
    assert len(set(asked)) >= 4
    assert asked == [sample["turns"][0]["text"] for sample in split_up(rows(source))[0]]


def test_choices_are_shown_or_not(tmp_path: Path) -> None:
    made = next(made for made in SETS if made.kind == "pmc_vqa")
    shown = split_up(rows(opened(made, UPath(tmp_path))))[0][0]["turns"]
    assert shown[0]["text"].endswith("A: CT\nB: MRI\nC: PET\nD: X-ray")
    assert shown[1]["text"] == "B: MRI"
    config = SourceConfig(kind="pmc_vqa", path=str(tmp_path), options={"with_choices": False})
    bare = split_up(rows(open_source(config)))[0][0]["turns"]
    assert [turn["text"] for turn in bare] == ['<image>\nWhich modality, "here"?', "MRI"]


def test_a_data_set_inside_a_zip(tmp_path: Path) -> None:
    pmc_oa(UPath(tmp_path) / "set")
    content = {
        f"top/{path.name}": path.read_bytes() for path in (UPath(tmp_path) / "set").iterdir()
    }
    zipped(UPath(tmp_path) / "set.zip", content)
    config = SourceConfig(kind="pmc_oa", path=f"zip://top::{tmp_path}/set.zip")
    plain = SourceConfig(kind="pmc_oa", path=f"{tmp_path}/set")
    assert rows(open_source(config)) == rows(open_source(plain))


@pytest.mark.parametrize("content", [b"not a zip", b""])
def test_a_broken_zip_of_pictures_is_a_fault_of_each_row(tmp_path: Path, content: bytes) -> None:
    pmc_oa(UPath(tmp_path))
    write(UPath(tmp_path) / "images.zip", content)
    samples, faults = split_up(rows(open_source(SourceConfig(kind="pmc_oa", path=str(tmp_path)))))
    assert not samples
    assert sum(fault.reason == "the images' zip file cannot be read" for fault in faults) == 5


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".csv"])
def test_a_broken_file_is_a_fault(tmp_path: Path, suffix: str) -> None:
    write(UPath(tmp_path) / f"a{suffix}", b'["\xff\xfe\x00 broken')
    samples, faults = split_up(rows(open_source(SourceConfig(kind="table", path=str(tmp_path)))))
    assert not samples
    assert len(faults) == 1


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return eval, (f"open({str(tmp_path / 'harmed')!r}, 'w')",)

    write(UPath(tmp_path) / "pvqa/qas/train/train_qa.pkl", pickle.dumps([Harm()]))
    (row,) = rows(open_source(SourceConfig(kind="path_vqa", path=str(tmp_path))))
    assert isinstance(row[2], Fault)
    assert row[2].reason == "not a pickle of plain texts"
    assert not (tmp_path / "harmed").exists()


def test_no_fault_quotes_its_row(tmp_path: Path) -> None:
    secret = "Zhang Wei 13800138000"
    bad = [
        {"conversations": [{"from": secret, "value": secret}]},
        {"conversations": secret, "image": secret},
        {"conversations": [{"from": "human", "value": secret}]},
        f'{{"conversations": "{secret}"',
    ]
    lines(UPath(tmp_path) / "a.jsonl", bad)
    _, faults = split_up(rows(open_source(SourceConfig(kind="conversations", path=str(tmp_path)))))
    assert len(faults) == len(bad)
    assert not any(secret in fault.reason or secret in fault.key for fault in faults)


def test_samples_of_the_platform_are_read_as_they_are(tmp_path: Path) -> None:
    made = next(made for made in SETS if made.kind == "slake")
    written, _ = split_up(rows(opened(made, UPath(tmp_path) / "raw")))
    write(UPath(tmp_path) / "samples/b.jsonl", '{"id": 1}\nnot json\n')
    pq.write_table(to_table(written), tmp_path / "samples" / "a.parquet", row_group_size=1)
    source = open_source(SourceConfig(kind="samples", path=str(tmp_path / "samples")))
    found = rows(source)
    assert source.shards() == ["a.parquet", "b.jsonl"]
    assert split_up(found)[0] == written
    assert [(shard, row.reason) for shard, _, row in found if isinstance(row, Fault)] == [
        ("b.jsonl", "no column 'source'"),
        ("b.jsonl", "malformed JSON"),
    ]


def test_registry_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    bunny(UPath(tmp_path), "bunny_695k.json")
    refused = {
        "nearest known key is 'slake'": {"kind": "slak"},
        "unknown key 'language' in sources.options of kind slake": {"options": {"language": "en"}},
        "takes no options": {"kind": "roco", "options": {"x": 1}},
        "languages": {"options": {"languages": ["de"]}},
        "does not exist": {"path": str(tmp_path / "nowhere")},
        "no split 'test'": {"splits": ["test"]},
        "holds no file of split 'train'": {},
        "at least 1": {"pieces": 0},
        "nearest known key is 'question'": {
            "kind": "table",
            "options": {"columns": {"quest": "a"}},
        },
    }
    for message, changed in refused.items():
        given = {"kind": "slake", "path": str(tmp_path), **changed}
        with pytest.raises(InputError, match=message):
            open_source(SourceConfig(**given)).shards()  # type: ignore[arg-type]


def test_every_kind_has_a_card_and_a_test(capsys: pytest.CaptureFixture[str]) -> None:
    tested = {made.kind for made in SETS} | {"samples", "dicom"}
    assert tested == set(SOURCES)
    from doctor_sun.data.sources.__main__ import main

    main()
    listing = capsys.readouterr().out
    for kind, source in SOURCES.items():
        assert f"{kind}: {source.card.title}" in listing
        assert all((source.card.layout, source.card.where, source.card.licence))
    assert len(registry.MODULES) == len(set(registry.MODULES))


def test_only_the_first_pieces_for_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces_module, "PIECE_ROWS", 1)
    table(UPath(tmp_path) / "a.csv", ("question", "answer"), [("q", "a"), ("r", "b"), ("s", "c")])
    whole = open_source(SourceConfig(kind="table", path=str(tmp_path)))
    trial = open_source(SourceConfig(kind="table", path=str(tmp_path), pieces=2))
    assert trial.shards() == whole.shards()[:2]
    assert len(rows(trial)) == 2
