"""The exclusion manifest holds what the ledger says, and shows any change."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from upath import UPath

from doctor_sun.data.decontamination import (
    DecontaminationConfig,
    read_exclusions,
    verify,
    write_exclusions,
)
from doctor_sun.data.ledger import SCHEMA
from doctor_sun.errors import InputError


def key_pair(folder: Path) -> tuple[str, str]:
    private = Ed25519PrivateKey.generate()
    files = folder / "private.pem", folder / "public.pem"
    pkcs8, raw = PrivateFormat.PKCS8, NoEncryption()
    files[0].write_bytes(private.private_bytes(Encoding.PEM, pkcs8, raw))
    public = private.public_key()
    files[1].write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return str(files[0]), str(files[1])


@pytest.fixture
def curated(tmp_path: Path) -> Path:
    """A finished curation: one row dropped, one left, the step's registry."""
    folder = tmp_path / "curated"
    entries = [
        {"id": "gone", "step": "3-d", "verdict": "dropped", "source": "s", "reason": "r"}
        | {"evidence": json.dumps({"benchmark": "medqa", "level": "text", "item": "1"})},
        {"id": "seen", "step": "3-d", "verdict": "review", "source": "s", "reason": "r"}
        | {"evidence": json.dumps({"benchmark": "slake", "level": "near image", "item": "1"})},
    ]
    for name in ("ledger/3-d", "data", "work"):
        (folder / name).mkdir(parents=True)
    pq.write_table(
        pa.Table.from_pylist(entries, schema=SCHEMA), folder / "ledger" / "3-d" / "000000-a.parquet"
    )
    pq.write_table(pa.table({"id": ["seen", "other"]}), folder / "data" / "part-000000.parquet")
    registry = {"medqa": {"checked": True, "items": 1}, "cmb": {"checked": False}}
    (folder / "work" / "registry.json").write_text(json.dumps(registry))
    return folder


def write(folder: Path, key: str | None = None) -> None:
    path = UPath(folder)
    write_exclusions(path, path / "work", DecontaminationConfig(key=key), "3-d")


def test_a_signed_manifest_holds_until_anything_is_changed(curated: Path, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path)
    write(curated, private)
    first = (curated / "exclusions.json").read_bytes()
    write(curated, private)
    assert (curated / "exclusions.json").read_bytes() == first
    read = verify(str(curated), public)
    assert read.signed
    assert read.manifest["excluded_rows"] == 1
    assert read.manifest["rows"]["dropped"] == {"medqa": {"text": 1}}
    assert (read.checked("medqa"), read.checked("cmb"), read.checked("bbh")) == (True, False, False)
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="not signed by this key"):
        verify(str(curated), key_pair(tmp_path / "other")[1])
    changed = first.replace(b'"excluded_rows": 1', b'"excluded_rows": 0')
    (curated / "exclusions.json").write_bytes(changed)
    with pytest.raises(InputError, match="was changed"):
        read_exclusions(curated)


def test_a_forged_hash_does_not_pass_the_signature(curated: Path, tmp_path: Path) -> None:
    private, public = key_pair(tmp_path)
    write(curated, private)
    whole = json.loads((curated / "exclusions.json").read_text())
    signature = whole["signature"]
    registry = json.loads((curated / "work" / "registry.json").read_text())
    registry["cmb"] = {"checked": True, "items": 1}
    (curated / "work" / "registry.json").write_text(json.dumps(registry))
    write(curated)
    forged = json.loads((curated / "exclusions.json").read_text()) | {"signature": signature}
    (curated / "exclusions.json").write_text(json.dumps(forged))
    for key in (public, None):
        with pytest.raises(InputError, match="not signed by this key"):
            verify(str(curated), key)


def test_an_excluded_row_in_the_data_is_noticed(curated: Path) -> None:
    write(curated)
    verify(str(curated))
    pq.write_table(pa.table({"id": ["gone"]}), curated / "data" / "part-000001.parquet")
    with pytest.raises(InputError, match="part-000001"):
        verify(str(curated))


@pytest.mark.slow
def test_the_command_line_says_what_was_not_checked(curated: Path, tmp_path: Path) -> None:
    write(curated)
    command = [sys.executable, "-m", "doctor_sun.data.decontamination", "verify", str(curated)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "UNSIGNED" in done.stdout
    assert "NOT checked" in done.stdout
    _, public = key_pair(tmp_path)
    command += ["--key", public]
    failed = subprocess.run(command, check=False, capture_output=True, text=True)
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1
