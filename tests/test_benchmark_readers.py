"""Every registered benchmark is read as its publisher ships it, held-out records only."""

from pathlib import Path

import pytest
from upath import UPath

from doctor_sun.data.benchmarks import BENCHMARKS, load_benchmark, plain
from doctor_sun.errors import InputError
from tests.benchmark_layouts import LAYOUTS, MCQ

WITH_PICTURES = ("vqa-rad", "path-vqa", "slake", "vqa-med", "pmc-vqa", "mmbench-dev")


def test_every_registered_benchmark_has_a_layout_here() -> None:
    assert set(LAYOUTS) == set(BENCHMARKS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_publishers_layout_is_read(name: str, tmp_path: Path) -> None:
    expected = LAYOUTS[name](tmp_path)
    items = list(load_benchmark(name, str(tmp_path)))
    assert len(items) == expected
    assert len({item.id for item in items}) == expected
    assert all(item.question for item in items)
    assert all(bool(item.image) == (name in WITH_PICTURES) for item in items)
    for item in items:
        assert not item.options or not item.answer or item.answer in item.options


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_without_the_files_is_one_clear_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no"):
        list(load_benchmark(name, str(tmp_path)))


def test_letters_become_the_options_text(tmp_path: Path) -> None:
    for name, answer in (("bbh", MCQ["C"]), ("pmc-vqa", MCQ["B"]), ("mmbench-dev", MCQ["B"])):
        LAYOUTS[name](tmp_path / name)
        (tmp_path / name).mkdir(exist_ok=True)
        assert next(load_benchmark(name, str(tmp_path / name))).answer == answer


def test_both_languages_keep_theirs(tmp_path: Path) -> None:
    for name in ("slake", "mmbench-dev"):
        (tmp_path / name).mkdir()
        LAYOUTS[name](tmp_path / name)
        found = {item.language for item in load_benchmark(name, str(tmp_path / name))}
        assert found == {"en", "zh"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[{"qid": "1"}]', "record 1 has no field 'phrase_type'"),
        ("[1]", "record 1 is not an object"),
        ('{"qid": "1"}', "is not a JSON array"),
        ("[{", "is not JSON"),
    ],
)
def test_a_broken_file_names_file_and_record(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "VQA_RAD Dataset Public.json").write_text(text)
    with pytest.raises(InputError, match=complaint) as error:
        list(load_benchmark("vqa-rad", str(tmp_path)))
    assert "VQA_RAD Dataset Public.json" in str(error.value)


def test_names_and_folders_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vqa-rad"):
        load_benchmark("vqarad", str(tmp_path))
    with pytest.raises(InputError, match="does not exist"):
        load_benchmark("vqa-rad", str(tmp_path / "nowhere"))


def test_a_set_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text('{"id": "1", "language": "zh", "question": "问", "answer": "答"}\n')
    (item,) = plain.load(UPath(file))
    assert (item.question, item.language, item.options) == ("问", "zh", ())
    file.write_text('{"id": "1", "language": "fr", "question": "q", "answer": "a"}\n')
    with pytest.raises(InputError, match="line 1: language"):
        list(plain.load(UPath(file)))
