"""`doctor-sun status`: what is finished, what stands still, and what it said last."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from upath import UPath

from doctor_sun import status
from doctor_sun.config import JobConfig
from doctor_sun.errors import InputError
from doctor_sun.runs import Step
from doctor_sun.status import read_status
from doctor_sun.step_log import SUBMITTED, StepLog, read_log


@dataclass(kw_only=True)
class Example(JobConfig):
    """A job."""


def begin(folder: Path | UPath, name: str) -> Step:
    return Step(Example(output=str(folder / name)), name, {})


def finish(folder: Path | UPath, name: str) -> Step:
    step = begin(folder, name)
    (step.folder / "result.txt").write_text("done")
    figures = {"parts": {"left": 0.25}, "last_loss": 1.5}
    step.finish(outputs=["result.txt"], counts={"rows": 12_000}, figures=figures)
    return step


@pytest.mark.parametrize("place", ["a folder", "memory://runs"])
def test_finished_and_unfinished_steps_are_told_apart(tmp_path: Path, place: str) -> None:
    root = tmp_path / "runs" if place == "a folder" else UPath(place)
    finish(root / "mine", "align")
    begin(root / "mine", "instruct").say("step 3/100  loss 2.0")
    found = {step.name: step for step in read_status(str(root), time.time() + 60)}
    assert found["align"].finished
    assert found["align"].folder == "mine/align"
    assert list(found["align"].numbers) == ["last_loss", "rows", "parts.left"]
    assert not found["instruct"].finished
    assert found["instruct"].said == "step 3/100  loss 2.0"
    assert 60 <= (found["instruct"].age or 0) < 120


def test_the_log_names_run_step_key_and_job_and_a_reused_step_adds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = {"metadata": {"job_submission_id": "raysubmit_1"}}
    monkeypatch.setenv(SUBMITTED, json.dumps(submitted))
    step = finish(tmp_path / "mine", "align")
    StepLog(step.folder, "align", step.key).write("from another process")
    lines = list(read_log(step.folder))
    assert [line["message"] for line in lines][1:] == ["from another process"]
    assert {(line["run"], line["step"], line["job"]) for line in lines} == {
        ("mine", "align", "raysubmit_1")
    }
    assert {line["key"] for line in lines} == {step.key[:12]}
    assert begin(tmp_path / "mine", "align").reused
    assert len(list(read_log(step.folder))) == len(lines)


def test_the_command_shows_a_run_and_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(tmp_path / "mine", "align")
    begin(tmp_path / "mine", "instruct")
    capsys.readouterr()

    def said(folder: Path) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["doctor-sun", "status", str(folder)])
        status.main()
        return capsys.readouterr().out.splitlines()

    align, instruct = said(tmp_path)[2:]
    assert "finished" in align.split()
    assert "last_loss 1.5, rows 12,000, parts.left 0.25" in align
    assert "unfinished" in instruct.split()
    one = "\n".join(said(tmp_path / "mine" / "align"))
    assert "12,000" in one
    assert "finished in" in one


def test_a_place_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no step has begun"):
        read_status(str(tmp_path))
    with pytest.raises(InputError, match="there is no folder"):
        read_status(str(tmp_path / "nowhere"))
