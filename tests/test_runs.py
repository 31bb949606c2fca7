"""A run's folder: complete only with a manifest, reused when nothing changed, never mixed up."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from doctor_sun.config import JobConfig
from doctor_sun.errors import InputError, one_line_errors
from doctor_sun.runs import MANIFEST, Step, content_hash, read_manifest


@dataclass(kw_only=True)
class Example(JobConfig):
    """A job."""

    factor: int = 1
    """A factor."""


def run(tmp_path: Path, factor: int = 1, force: bool = False) -> bool:
    """Do the step unless it is reused; says whether it was."""
    config = Example(output=str(tmp_path / "out"), factor=factor, force=force)
    step = Step(config, "example", {"data": str(tmp_path / "in")})
    if not step.reused:
        (step.folder / "result.txt").write_text(str(factor))
        step.finish(outputs=["result.txt"], counts={"rows": 1})
    return step.reused


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a")
    return tmp_path


def test_an_identical_call_is_reused(inputs: Path) -> None:
    assert [run(inputs), run(inputs)] == [False, True]


def test_another_configuration_input_or_force_is_not(inputs: Path) -> None:
    assert not run(inputs)
    assert not run(inputs, factor=2)
    assert run(inputs, factor=2)
    assert not run(inputs, factor=2, force=True)
    (inputs / "in" / "a.txt").write_text("b")
    assert not run(inputs, factor=2)


def test_an_interrupted_step_is_no_result_and_resumes(inputs: Path) -> None:
    config = Example(output=str(inputs / "out"))
    first = Step(config, "example", {"data": str(inputs / "in")})
    (first.folder / "half.txt").write_text("half")
    assert read_manifest(first.folder) is None
    second = Step(config, "example", {"data": str(inputs / "in")})
    assert not second.reused
    assert (second.folder / "half.txt").exists()
    other = Step(
        Example(output=str(inputs / "out"), factor=3), "example", {"data": str(inputs / "in")}
    )
    assert not (other.folder / "half.txt").exists()


def test_a_changed_step_drops_the_old_manifest_before_it_works(inputs: Path) -> None:
    run(inputs)
    Step(Example(output=str(inputs / "out"), factor=2), "example", {"data": str(inputs / "in")})
    assert not (inputs / "out" / MANIFEST).exists()


def test_a_foreign_folder_is_left_alone(inputs: Path) -> None:
    (inputs / "out").mkdir()
    (inputs / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not made by this job"):
        run(inputs)
    assert (inputs / "out" / "thesis.txt").read_text() == "mine"


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="/in does not exist"):
        run(tmp_path)


def test_lineage_and_hash(inputs: Path) -> None:
    run(inputs)
    manifest = read_manifest(inputs / "out")
    assert manifest is not None
    assert manifest["inputs"]["data"]["hash"] == content_hash(inputs / "in")
    assert manifest["output_hash"] == content_hash(inputs / "out")
    assert manifest["packages"]["python"]


def test_a_full_disk_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        Path("/dev/full").write_text("more than nothing")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: no space is left on the device")
