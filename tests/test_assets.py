"""Packages are verified before they are read; without them everything still works."""

from pathlib import Path

import pytest

from doctor_sun.data import assets
from doctor_sun.data.assets import ASSETS, fetch, read_member


def test_every_asset_is_pinned_and_licensed() -> None:
    for asset in ASSETS.values():
        assert len(asset.sha256) == 64
        assert asset.version in asset.file
        assert asset.code_licence
        assert asset.data_licence
        assert asset.reads


def test_offline_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch("torchxrayvision", offline=True) is None
    monkeypatch.setenv(assets.OFFLINE_VARIABLE, "1")
    assert fetch("torchxrayvision") is None
    assert read_member("torchxrayvision", "anything") is None


def test_a_changed_file_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(assets.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(assets.sys, "executable", "/nonexistent/python")  # pip cannot be run
    asset = ASSETS["faker-healthcare-provider"]
    (tmp_path / asset.file).write_bytes(b"not the wheel")
    assert fetch(asset.name) is None
    said = capsys.readouterr().out.strip()
    assert asset.name in said
    assert "procedural fallback" in said
    assert len(said.splitlines()) == 1
