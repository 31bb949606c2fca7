"""Equal rows are found by what they say and show; the same row is kept however they are cut."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray.data
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from doctor_sun.data.exact_duplicates import ExactDuplicatesConfig, decide, duplicate_key
from doctor_sun.data.rows import keeper_order
from doctor_sun.data.text_form import agreement, content_units, conversations, normalised
from doctor_sun.records import TURNS
from tests.duplicate_rows import dataset, lines, row

CONFIG = ExactDuplicatesConfig(source_priority=["best", "good"], partitions=3)
SOURCES = ("other", "good", "best")


def key(text: str, *image_keys: str) -> bytes:
    return duplicate_key([("assistant", text)], image_keys)


def test_the_key_ignores_case_width_and_blanks_only() -> None:
    assert key("A  B\n") == key("ａ b")
    assert key("5 mg") != key("50 mg")
    assert key("a") != key("a.")
    assert key("a", "x") != key("a", "y")
    assert key("a", "x") != key("a")
    assert duplicate_key([("user", "a")], []) != duplicate_key([("assistant", "a")], [])


@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once


@given(st.text(max_size=40), st.sampled_from([" ", "\n", "\t ", "\u3000"]))
def test_blanks_around_words_do_not_count(text: str, blank: str) -> None:
    assert normalised(blank.join(["", *text.split(), ""])) == normalised(text)


@given(st.lists(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=5)), max_size=3)))
def test_conversations_are_those_of_the_column(said: list[list[tuple[str, str]]]) -> None:
    rows = [[{"role": role, "text": text} for role, text in turns] for turns in said]
    column = pa.chunked_array([pa.array(rows, TURNS), pa.array(rows, TURNS)], TURNS)
    assert list(conversations(column)) == said + said
    assert list(conversations(column.slice(1, len(said)))) == (said + said)[1 : len(said) + 1]


def test_keeper_order() -> None:
    rank = keeper_order(["best", "good"])
    rows = [
        {"source": "other", "length": 99, "id": "a"},
        {"source": "good", "length": 9, "id": "c"},
        {"source": "good", "length": 9, "id": "b"},
        {"source": "good", "length": 10, "id": "d"},
        {"source": "best", "length": 1, "id": "e"},
    ]
    assert [r["id"] for r in sorted(rows, key=rank)] == ["e", "d", "b", "c", "a"]


def test_agreement_counts_words_and_their_order() -> None:
    one = content_units("No focal consolidation, effusion or pneumothorax.")
    assert agreement(one, content_units("no focal consolidation effusion pneumothorax")) == 1
    assert agreement(one, content_units("Pneumothorax, effusion, focal consolidation, no")) < 0.8
    assert agreement(content_units("左肺结节"), content_units("左肺的结节。")) == 1
    assert agreement(content_units(""), content_units("")) == 1


def random_rows(seed: int, count: int = 300) -> list[dict[str, Any]]:
    """Rows with few different texts, spelt in several ways, from three sources."""
    chosen = random.Random(seed)
    rows = []
    for number in range(count):
        text = chosen.choice(["左肺 结节", "Lung nodule", "ＡＢ"]) + str(chosen.randrange(30))
        spelt = chosen.choice([text, text.upper(), f" {text}", text.replace(" ", "   ")])
        id = f"{chosen.randrange(10**6):06d}-{number}"
        rows.append(row(id, "Q?", spelt, source=chosen.choice(SOURCES), part=number // 50))
    return rows


def expected(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The kept row of each dropped one, by the plain rule."""
    rank = keeper_order(CONFIG.source_priority)
    kept: dict[str, str] = {}
    twins: dict[str, str] = {}
    length = {r["id"]: sum(len(turn["text"]) for turn in r["turns"]) for r in rows}
    for r in sorted(rows, key=lambda r: rank(r | {"length": length[r["id"]]})):
        first = kept.setdefault(normalised(r["turns"][1]["text"]), r["id"])
        if first != r["id"]:
            twins[r["id"]] = first
    return twins


def twins_of(rows: ray.data.Dataset, tmp_path: Path, partitions: int = 3) -> dict[str, str]:
    config = ExactDuplicatesConfig(source_priority=["best", "good"], partitions=partitions)
    found = lines(decide(rows, config, UPath(tmp_path)))
    assert len({line["id"] for line in found}) == len(found) == rows.count()
    dropped = [line for line in found if line["verdict"]]
    assert {line["verdict"] for line in dropped} <= {"dropped"}
    twins = {line["id"]: json.loads(line["evidence"])["kept"] for line in dropped}
    assert not set(twins) & set(twins.values())
    return twins


@pytest.mark.slow
def test_the_best_row_of_each_group_is_kept_however_rows_are_cut(
    tmp_path: Path, ray_cluster: None
) -> None:
    rows = random_rows(1)
    wanted = expected(rows)
    assert 200 < len(wanted) < 300
    for seed, blocks, partitions in ((0, 1, 1), (1, 7, 4)):
        random.Random(seed).shuffle(rows)
        assert twins_of(dataset(rows, blocks), tmp_path, partitions) == wanted


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(tmp_path: Path, ray_cluster: None) -> None:
    rows = random_rows(2)
    killed = tmp_path / "killed"

    def kill_once(table: pa.Table) -> pa.Table:
        if not killed.exists():
            killed.touch()
            os._exit(1)
        return table

    rows_read = dataset(rows).map_batches(kill_once, batch_format="pyarrow", batch_size=None)
    found = lines(decide(rows_read, CONFIG, UPath(tmp_path)))
    twins = {line["id"]: json.loads(line["evidence"])["kept"] for line in found if line["verdict"]}
    assert killed.exists()
    assert twins == expected(rows)


@pytest.mark.slow
def test_large_partitions_stay_in_one_piece(tmp_path: Path, ray_cluster: None) -> None:
    """A group is decided in one block, so a partition must not be cut at Ray's block size."""
    context = ray.data.DataContext.get_current()
    before = context.target_max_block_size
    context.target_max_block_size = 1024
    try:
        rows = random_rows(3)
        assert twins_of(dataset(rows), tmp_path, 1) == expected(rows)
    finally:
        context.target_max_block_size = before


@pytest.mark.slow
def test_roles_and_pictures_count_and_no_rows_are_no_error(
    tmp_path: Path, ray_cluster: None
) -> None:
    same = [
        row("a", "q", "x", image_keys=["1"]),
        row("b", "q", "x", image_keys=["1"]),
        row("c", "q", "x", image_keys=["2"]),
        row("d", "x", image_keys=["1"]),
    ]
    assert twins_of(dataset(same), tmp_path) == {"b": "a"}
    assert twins_of(dataset(same).filter(lambda _: False), tmp_path) == {}
