"""The audit log: a line of JSON for every request, with hashes and sizes, without its content.

Hashes are keyed (HMAC): the plain hash of a short text or of a known picture could be looked up.
With `DOCTOR_SUN_AUDIT_KEY` set, the same picture has the same hash in every log; without, the key
is made at the start and forgotten at the end. What was asked and answered is not kept anywhere;
a store of contents, encrypted, would be a system of its own.

A line that cannot be written, for want of disk space, holds no request up: the next line says how
many are `missing` before it, and Prometheus sees `doctor_sun_audit_missing`.
"""

import hashlib
import hmac
import json
import logging
import os
import secrets
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from doctor_sun.files import append_whole

logger = logging.getLogger("ray.serve")

KEY = "DOCTOR_SUN_AUDIT_KEY"


@dataclass(kw_only=True)
class AuditConfig:
    """Where the audit log is written."""

    folder: str | None = None
    """Folder of a file for each replica, on the replica's node; none takes Ray Serve's own log
    folder, which goes with the cluster."""


@dataclass(kw_only=True)
class Exchange:
    """What is remembered of a request."""

    request_id: str
    route: str
    caller: str = ""
    """Name of the API key."""

    model: str = ""
    prompt_version: str = ""
    status: int = 0
    """Of HTTP; 499 where the client left first."""

    code: str = ""
    """What was wrong, or the refusal rule that answered."""

    texts: str = ""
    """Keyed hash of all texts."""

    text_bytes: int = 0
    pictures: list[str] = field(default_factory=list)
    """Keyed hashes of the pictures as they were sent."""

    picture_bytes: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    streamed: bool = False
    first_token: float | None = None
    """Seconds from the request to the first piece of the answer."""

    seconds: float = 0.0


class Audit:
    """Writes the log of one replica."""

    def __init__(self, config: AuditConfig, replica: str) -> None:
        self._key = os.environ.get(KEY, "").encode() or secrets.token_bytes(32)
        folder = Path(config.folder or _serve_logs())
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / f"audit-{replica}.jsonl").open("ab", buffering=0)
        self._missing = 0

    def hash(self, pieces: Iterable[bytes]) -> str:
        """Keyed hash of some bytes."""
        made = hmac.new(self._key, digestmod=hashlib.sha256)
        for piece in pieces:
            made.update(piece)
        return made.hexdigest()[:32]

    def write(self, exchange: Exchange) -> bool:
        """Append one line; whether there was room for it."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"time": now, "missing": self._missing, **asdict(exchange)}
        try:
            append_whole(self._file, json.dumps(line).encode() + b"\n")
        except OSError as error:
            if not self._missing:
                why = error.strerror
                logger.error("the audit log %s cannot be written: %s", self._file.name, why)
            self._missing += 1
            return False
        self._missing = 0
        return True


def _serve_logs() -> str:
    from ray.serve._private.logging_utils import get_serve_logs_dir

    return str(get_serve_logs_dir())
