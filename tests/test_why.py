"""`why` tells a row's whole story, and what it cannot tell it says."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from doctor_sun.data.ledger import SCHEMA
from doctor_sun.data.why import story
from doctor_sun.errors import InputError
from doctor_sun.records import make_sample, to_table

TURNS = [{"role": "user", "text": "Any fracture?"}, {"role": "assistant", "text": "No fracture."}]


def sample(key: str, **more: object) -> dict[str, object]:
    return make_sample(
        source="reports",
        source_key=key,
        domain="medical",
        language="en",
        task="instruction",
        turns=TURNS,  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )


KEPT = sample("1")
CHILD = sample("2", parents=[KEPT["id"]], made_by="translate")
GONE = str(sample("3")["id"])


@pytest.fixture
def folder(tmp_path: Path) -> UPath:
    """A curation of three rows: one kept, one made from it, one dropped."""
    step = "02-near_duplicates"
    entry = {
        "id": GONE,
        "step": step,
        "verdict": "dropped",
        "reason": "nearly the same text",
        "evidence": json.dumps({"kept": KEPT["id"], "cosine": 0.98}),
        "source": "reports",
    }
    (tmp_path / "ledger" / step).mkdir(parents=True)
    pq.write_table(
        pa.Table.from_pylist([entry], schema=SCHEMA), tmp_path / "ledger" / step / "0.parquet"
    )
    (tmp_path / "data").mkdir()
    pq.write_table(to_table([KEPT, CHILD]), tmp_path / "data" / "part-000000.parquet")
    return UPath(tmp_path)


def test_a_dropped_row_names_its_twin(folder: UPath) -> None:
    said = "\n".join(story(folder, GONE[:12]))
    assert "02-near_duplicates: dropped, nearly the same text" in said
    assert f"kept {KEPT['id']}" in said
    assert "cosine 0.98" in said
    assert "not in the curated data" in said


def test_a_kept_row_names_its_descent(folder: UPath) -> None:
    said = "\n".join(story(folder, str(KEPT["id"])))
    assert "in the curated data: reports 1" in said
    assert f"rows made from it: {CHILD['id']}" in said
    assert f"made from: {KEPT['id']}" in "\n".join(story(folder, str(CHILD["id"])))


def test_text_is_shown_on_demand_only(folder: UPath) -> None:
    assert "fracture" not in "\n".join(story(folder, str(KEPT["id"])))
    assert "No fracture." in "\n".join(story(folder, str(KEPT["id"]), text=True))


@pytest.mark.parametrize(
    ("id", "message"), [("ab", "too short"), ("f" * 64, "no row"), ("", "too short")]
)
def test_what_cannot_be_told_is_said(folder: UPath, id: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(story(folder, id))


@pytest.mark.slow
def test_the_command_ends_with_one_line(folder: UPath) -> None:
    command = [sys.executable, "-m", "doctor_sun.data.why", str(folder / "data"), GONE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
