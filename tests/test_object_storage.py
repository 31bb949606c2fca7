"""Curation from and to an object store gives what it gives on a disk, and resumes there."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from upath import UPath

from doctor_sun.data import curation
from doctor_sun.data.curation import CurateConfig
from doctor_sun.data.ledger import ledger_table
from doctor_sun.data.why import story
from doctor_sun.runs import read_manifest
from tests.small_data import write_small_data

JOB = Path(__file__).parent.parent / "jobs" / "curate.py"
ORDER = ["exact_duplicates", "charset", "selection"]
BUCKET = "s3://hospital"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[UPath]:
    """A bucket of an S3-compatible server on this machine."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "for-tests")
    place = UPath(BUCKET)
    place.mkdir()
    yield place
    server.stop()


def curate_from_a_shell(*options: str) -> str:
    """What the job prints: a process and a cluster of its own, which have the bucket's address."""
    command = [sys.executable, str(JOB), "--raw", f"{BUCKET}/raw", "--output", f"{BUCKET}/curate"]
    command += ["--order", f"[{', '.join(ORDER)}]", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows_of(folder: UPath) -> list[dict[str, Any]]:
    rows = []
    for path in sorted((folder / "data").glob("*.parquet"), key=str):
        with path.open("rb") as stream:
            rows += pq.read_table(stream).to_pylist()
    return rows


@pytest.mark.slow
def test_curation_on_an_object_store_equals_curation_on_a_disk(
    ray_cluster: None, bucket: UPath, tmp_path: Path
) -> None:
    for count in (12, 24):  # the rows of one file stand in the other as well
        write_small_data(tmp_path / "raw" / f"of-{count}", count)
    bucket.fs.put(str(tmp_path / "raw"), (bucket / "raw").path, recursive=True)

    said = curate_from_a_shell("--stop_after", "exact_duplicates")
    assert "[curate] exact_duplicates: " in said
    assert "[curate] charset: " not in said
    said = curate_from_a_shell()
    assert "[curate] exact_duplicates: already done" in said
    assert "[curate] charset: " in said

    on_disk = tmp_path / "curate"
    curation.run(CurateConfig(raw=str(tmp_path / "raw"), output=str(on_disk), order=ORDER))
    curated = bucket / "curate"
    assert rows_of(curated) == rows_of(UPath(on_disk))
    ledgers = [ledger_table(folder).sort_by("id") for folder in (str(curated), str(on_disk))]
    assert ledgers[0].equals(ledgers[1])
    manifests = [read_manifest(folder) for folder in (curated, UPath(on_disk))]
    keys, counts = zip(*((m["key"], m["counts"]["rows_in"]) for m in manifests if m), strict=True)
    assert keys[0] == keys[1]
    assert counts == (3 * (12 + 24),) * 2
    assert not [path for path in bucket.fs.find(bucket.path) if path.endswith(".part")]
    dropped = next(row["id"] for row in ledgers[0].to_pylist() if row["verdict"] == "dropped")
    assert "dropped" in "\n".join(story(curated, dropped, text=False))
