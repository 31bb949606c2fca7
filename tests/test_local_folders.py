"""Copies of an object store's folders on a node: made once, fresh, whole."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from upath import UPath

from doctor_sun.errors import InputError
from doctor_sun.files import append_lines, in_object_store
from doctor_sun.local_folders import CACHE, local_copy, written_folder

STORE = "memory://models"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> UPath:
    """A store that is gone with the process, and an empty cache."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    place = UPath(STORE)
    if place.exists():
        place.fs.rm(place.path, recursive=True)
    (place / "clip" / "deep").mkdir(parents=True)
    (place / "clip" / "weights").write_bytes(b"first")
    (place / "clip" / "deep" / "more").write_bytes(b"more")
    return place


def test_a_folder_on_a_disk_is_used_where_it_is(tmp_path: Path) -> None:
    for location in (str(tmp_path), "ViT-L-14", "org/model"):
        assert local_copy(location) == location
        assert not in_object_store(location)
    assert local_copy(f"file://{tmp_path}") == str(tmp_path)
    for place in (str(tmp_path / "out"), f"file://{tmp_path}/out"):
        with written_folder(place) as written:
            assert written == tmp_path / "out"


def test_a_copy_may_leave_out_weights(store: UPath) -> None:
    (store / "clip" / "model.safetensors").write_bytes(b"large")
    small, whole = (Path(local_copy(f"{STORE}/clip", weights=w)) for w in (False, True))
    assert {file.name for file in small.iterdir()} == {"weights", "deep"}
    assert {file.name for file in whole.iterdir()} == {"weights", "deep", "model.safetensors"}


def test_a_copy_is_made_once_and_again_when_the_content_changes(store: UPath) -> None:
    location = f"{STORE}/clip"
    with ThreadPoolExecutor(4) as pool:
        copies = set(pool.map(local_copy, [location] * 4))
    (copy,) = map(Path, copies)
    found = {str(f.relative_to(copy)): f.read_bytes() for f in copy.rglob("*") if f.is_file()}
    assert found == {"weights": b"first", "deep/more": b"more"}
    made = (copy / "weights").stat().st_ino
    assert local_copy(f"{location}/") == str(copy)
    assert (copy / "weights").stat().st_ino == made
    (store / "clip" / "weights").write_bytes(b"second, longer")
    newer = Path(local_copy(location))
    assert newer != copy
    assert (newer / "weights").read_bytes() == b"second, longer"
    assert not list(copy.parent.glob("*.part"))
    assert Path(local_copy(f"{location}/weights")).read_bytes() == b"second, longer"  # one file


def test_what_an_interrupted_copy_left_is_not_taken_for_one(store: UPath, tmp_path: Path) -> None:
    copy = Path(local_copy(f"{STORE}/clip"))
    copy.rename(copy.with_suffix(".part"))
    (copy.with_suffix(".part") / "weights").write_bytes(b"fir")
    assert local_copy(f"{STORE}/clip") == str(copy)
    assert (copy / "weights").read_bytes() == b"first"
    assert not copy.with_suffix(".part").exists()


def test_nothing_there_is_named(store: UPath) -> None:
    with pytest.raises(InputError, match="memory://models/nowhere holds no files"):
        local_copy(f"{STORE}/nowhere")


def test_a_written_folder_is_in_the_store_when_its_block_ends_well(store: UPath) -> None:
    with written_folder(store / "out") as written:
        (written / "deep").mkdir()
        (written / "deep" / "file").write_text("text")
        assert not (store / "out").exists()
    assert (store / "out" / "deep" / "file").read_text() == "text"
    left = []
    with suppress(OSError), written_folder(store / "failed") as written:
        left.append(written)
        (written / "half").write_text("half")
        raise OSError("no space")
    assert not (store / "failed").exists()
    assert not left[0].exists()


def test_lines_are_added_where_nothing_appends(store: UPath, tmp_path: Path) -> None:
    for place in (store / "lines", UPath(tmp_path / "lines")):
        append_lines(place, ["one"])
        append_lines(place, ["two", "三"])
        assert place.read_text(encoding="utf-8") == "one\ntwo\n三\n"
