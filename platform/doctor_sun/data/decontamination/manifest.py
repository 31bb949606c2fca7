"""The exclusion manifest: which benchmarks a data set was cleaned of, how, and what went.

`exclusions.json` is signed with Ed25519 when a key is configured. Evaluation reads it to say beside
a score whether the training data had been compared with that benchmark.

    python -m doctor_sun.data.decontamination verify FOLDER [--key PUBLIC.pem]

A key pair is made by `openssl genpkey -algorithm ed25519 -out private.pem` and
`openssl pkey -in private.pem -pubout -out public.pem`.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from upath import UPath

from doctor_sun.data.decontamination.step import REGISTRY_FILE, DecontaminationConfig
from doctor_sun.data.ledger import read_ledger
from doctor_sun.errors import InputError

FILE = "exclusions.json"
FORMAT = 1


@dataclass(frozen=True)
class Exclusions:
    """A manifest as it was read."""

    manifest: dict[str, Any]
    sha256: str
    signed: bool

    def checked(self, benchmark: str) -> bool:
        """Whether the data was compared with a benchmark's held-out items."""
        return bool(self.manifest["benchmarks"].get(benchmark, {}).get("checked", False))


def canonical(manifest: dict[str, Any]) -> bytes:
    """The bytes that are hashed and signed: JSON, keys sorted, no spaces."""
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def write_exclusions(
    folder: UPath, work: UPath, config: DecontaminationConfig, step: str
) -> Exclusions:
    """Write the manifest of a finished step.

    Args:
        folder: of the curation: takes `exclusions.json`, has the ledger.
        work: the step's folder.
        config: as the step was run.
        step: the step's name in the ledger.

    Raises:
        InputError: the key cannot be read.
    """
    registry = json.loads((work / REGISTRY_FILE).read_text(encoding="utf-8"))
    counts, ids = _entries(read_ledger(folder, step))
    thresholds = asdict(config)
    for path in ("benchmarks", "own", "key"):  # where files lay says nothing of what they hold
        thresholds.pop(path)
    manifest = {
        "format": FORMAT,
        "step": step,
        "benchmarks": registry,
        "thresholds": thresholds,
        "rows": counts,
        "excluded_rows": len(ids),
        "excluded_ids_sha256": _ids_hash(ids),
    }
    content = canonical(manifest)
    whole = {"manifest": manifest, "sha256": hashlib.sha256(content).hexdigest(), "signature": None}
    if config.key is not None:
        private = _private_key(config.key)
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        signature = {"algorithm": "ed25519", "public_key": public.hex()}
        whole["signature"] = {**signature, "value": private.sign(content).hex()}
    text = json.dumps(whole, sort_keys=True, indent=1, ensure_ascii=False)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")
    return Exclusions(manifest, str(whole["sha256"]), config.key is not None)


def _entries(tables: Iterable[pa.Table]) -> tuple[dict[str, dict[str, dict[str, int]]], list[str]]:
    """Rows by verdict, benchmark and level; ids of the dropped rows, sorted."""
    counts: Counter[tuple[str, str, str]] = Counter()
    ids: list[str] = []
    for table in tables:
        dropped = table.filter(pc.equal(table["verdict"], "dropped"))
        ids += dropped["id"].to_pylist()
        pairs = zip(table["verdict"].to_pylist(), table["evidence"].to_pylist(), strict=True)
        for verdict, text in pairs:
            evidence = json.loads(text)
            counts[verdict, evidence["benchmark"], evidence["level"]] += 1
    nested: dict[str, dict[str, dict[str, int]]] = {"dropped": {}, "review": {}}
    for (verdict, benchmark, level), rows in sorted(counts.items()):
        nested[verdict].setdefault(benchmark, {})[level] = rows
    return nested, sorted(ids)


def _ids_hash(ids: list[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def read_exclusions(folder: str | UPath) -> Exclusions:
    """The manifest of a curated data set, whoever signed it.

    Raises:
        InputError: there is none, or it was changed.
    """
    return _opened(UPath(folder) / FILE)[0]


def _opened(file: UPath) -> tuple[Exclusions, dict[str, str] | None]:
    """The manifest and its signature; raises InputError unless its hash is right."""
    if not file.is_file():
        raise InputError(f"{file} does not exist: the data was not decontaminated")
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
        manifest, stated, signature = whole["manifest"], whole["sha256"], whole["signature"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is not an exclusion manifest") from error
    if hashlib.sha256(canonical(manifest)).hexdigest() != stated:
        raise InputError(f"{file} was changed: its sha256 is not the stated one")
    return Exclusions(manifest, stated, signature is not None), signature


def verify(folder: str | UPath, key: str | None = None) -> Exclusions:
    """Check a manifest: its hash, its signature, the ledger's excluded rows, the data.

    Args:
        folder: of the curation.
        key: PEM file of the public (or private) key that must have signed it; without one, a
            signature is only checked against the key that the manifest names.

    Raises:
        InputError: whatever does not hold.
    """
    folder = UPath(folder)
    exclusions, signature = _opened(folder / FILE)
    if key is not None and signature is None:
        raise InputError(f"{folder / FILE} is not signed")
    if signature is not None:
        _check_signature(folder / FILE, exclusions, signature, key)
    if (folder / "ledger").is_dir():
        _, ids = _entries(read_ledger(folder, exclusions.manifest["step"]))
        if _ids_hash(ids) != exclusions.manifest["excluded_ids_sha256"]:
            raise InputError(f"{folder}/ledger names other excluded rows than {FILE}")
        _check_data(folder / "data", ids)
    return exclusions


def _check_signature(
    file: UPath, exclusions: Exclusions, signature: dict[str, str], key: str | None
) -> None:
    try:
        named = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature["public_key"]))
        public = named if key is None else _public_key(key)
        public.verify(bytes.fromhex(signature["value"]), canonical(exclusions.manifest))
    except (KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} has a malformed signature") from error
    except InvalidSignature as error:
        raise InputError(f"{file} was not signed by this key, or was changed since") from error


def _check_data(data: UPath, excluded: list[str]) -> None:
    """Raise InputError when a row that was excluded stands in the data."""
    gone = pa.array(excluded, pa.string())
    for file in sorted(data.glob("*.parquet"), key=str):
        with file.open("rb") as stream:
            ids = pq.read_table(stream, columns=["id"])["id"]
        if pc.any(pc.is_in(ids, value_set=gone)).as_py():
            raise InputError(f"{file} holds a row that the manifest excludes")


def _private_key(file: str) -> Ed25519PrivateKey:
    key = _load(file, lambda data: load_pem_private_key(data, password=None))
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{file} is not an Ed25519 private key")
    return key


def _public_key(file: str) -> Ed25519PublicKey:
    data = UPath(file).read_bytes() if UPath(file).is_file() else b""
    if b"PRIVATE KEY" in data:
        return _private_key(file).public_key()
    key = _load(file, load_pem_public_key)
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{file} is not an Ed25519 public key")
    return key


def _load(file: str, parse: Any) -> Any:
    if not UPath(file).is_file():
        raise InputError(f"key file {file} does not exist")
    try:
        return parse(UPath(file).read_bytes())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"key file {file} is not an unencrypted PEM key") from error
