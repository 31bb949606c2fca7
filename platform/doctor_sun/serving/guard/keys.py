"""Who may call the endpoint, and how much.

    python -m doctor_sun.serving.guard.keys radiology

makes a key for `radiology` and the line of the keys file that lets it in. The file is YAML, a name
a line: `radiology: KEY`, or with limits of its own
`radiology: {sha256: HEX, requests_per_minute: 60, tokens_per_minute: 100000, concurrent: 4}`.
"""

import argparse
import base64
import hashlib
import hmac
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import yaml
from limits import RateLimitItemPerMinute
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string

from doctor_sun.config import unknown_key
from doctor_sun.errors import InputError, one_line_errors
from doctor_sun.serving.guard.refusal import Refusal

VARIABLE = "DOCTOR_SUN_API_KEYS"
PREFIX = "ds-"
"""Of the keys that we make, for scanners of leaked secrets."""
KEY = re.compile(r"[!-~]{16,}")
# Shorter than a key that we make: one that stands in a name's place is never shown as a name.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much one caller may use; None is no limit."""

    requests_per_minute: int | None = None
    """Requests let in within any 60 seconds."""

    tokens_per_minute: int | None = None
    """Tokens, of prompts and of the longest answers asked for, within any 60 seconds."""

    concurrent: int | None = None
    """Requests under way at a time, in each process of the endpoint."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and (type(value) is not int or value < 1):
                raise InputError(f"{name} must be a whole number from 1, or null for no limit")


@dataclass(kw_only=True)
class KeysConfig:
    """Keys that the endpoint asks for, and the limits of those that have none of their own.

    Without `keys_file` and the environment variable DOCTOR_SUN_API_KEYS (`name=key,name=key`)
    everybody may call, without limits: callers cannot be told apart.
    """

    keys_file: str | None = None
    """YAML file of names and keys; see `python -m doctor_sun.serving.guard.keys --help`."""

    requests_per_minute: int | None = 600
    """Requests of a key within any 60 seconds; null is no limit."""

    tokens_per_minute: int | None = 1_000_000
    """Tokens of a key within any 60 seconds, of prompts and of the longest answers asked for; null
    is no limit."""

    concurrent: int | None = 64
    """Requests of a key under way at a time, in each process of the endpoint; null is no limit."""

    limits_storage: str = "memory://"
    """Where the minutes are counted, as a URI of the `limits` library: in each process, or shared
    between them with `redis://HOST:PORT`."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who calls: the name of a key, for logs and limits."""

    name: str
    limits: Limits


ANONYMOUS = Caller(name="anonymous", limits=Limits())


class Keys:
    """The keys of an endpoint and what each has used; holds no key, only SHA-256 sums."""

    def __init__(self, callers: dict[bytes, Caller], storage: str = "memory://") -> None:
        """See `load`.

        Args:
            callers: by the SHA-256 of their keys; without any, everybody is let in.
            storage: URI of the `limits` library.
        """
        self.open = not callers
        self._callers = callers
        self._rates = _rates(storage)
        self._running: Counter[str] = Counter()

    @classmethod
    def load(cls, config: KeysConfig) -> Self:
        """The keys of the file and of the environment.

        Raises:
            InputError: a file or entry is wrong, or sets no key at all.
        """
        defaults = Limits(
            requests_per_minute=config.requests_per_minute,
            tokens_per_minute=config.tokens_per_minute,
            concurrent=config.concurrent,
        )
        callers: dict[bytes, Caller] = {}
        for where, name, value in [*_of_file(config.keys_file), *_of_environment()]:
            digest, caller = _entry(where, name, value, defaults)
            if digest in callers or name in {known.name for known in callers.values()}:
                raise InputError(f"{where} ({name}): the name or the key is there twice")
            callers[digest] = caller
        return cls(callers, config.limits_storage)

    def check_address(self, host: str) -> None:
        """Refuse to listen to other machines without keys.

        Raises:
            InputError: the address is not this machine's own, and there are no keys.
        """
        if self.open and host not in ("localhost", "127.0.0.1", "::1"):
            raise InputError(
                f"listening on {host} needs API keys: set api_keys.keys_file or {VARIABLE}, or "
                "http_options.host to 127.0.0.1"
            )

    def caller(self, authorization: str | None) -> Caller:
        """Who sends an `Authorization` header: `Bearer KEY`, or `Basic` with the key as password.

        Raises:
            Refusal: 401 `invalid_api_key`.
        """
        if self.open:
            return ANONYMOUS
        key = _presented(authorization or "")
        digest, found = _sha256(key), None
        for known, caller in self._callers.items():  # all of them, whatever is found
            if hmac.compare_digest(known, digest):
                found = caller
        if found is None or not KEY.fullmatch(key):
            message = "no valid API key: send `Authorization: Bearer KEY`"
            raise Refusal(401, "invalid_api_key", message)
        return found

    @asynccontextmanager
    async def admitted(self, caller: Caller) -> AsyncIterator[None]:
        """Count one request, under way for as long as the context is open.

        Raises:
            Refusal: 429 `concurrent_requests` or `requests_per_minute`; 503 `limits_storage`.
        """
        limit = caller.limits.concurrent
        if limit is not None and self._running[caller.name] >= limit:
            message = f"this key may have {limit} requests under way at a time"
            raise Refusal(429, "concurrent_requests", message, retry_after=1)
        self._running[caller.name] += 1
        try:
            await self._count("requests_per_minute", caller, caller.limits.requests_per_minute, 1)
            yield
        finally:
            self._running[caller.name] -= 1

    async def spend(self, caller: Caller, tokens: int) -> None:
        """Count the tokens that a request may cost at most, before it waits for the engine.

        Raises:
            Refusal: 400 `tokens_per_request` when no minute has as many, 429 `tokens_per_minute`
                when this one has not; 503 `limits_storage`.
        """
        limit = caller.limits.tokens_per_minute
        if limit is not None and tokens > limit:
            raise Refusal(
                400,
                "tokens_per_request",
                f"the prompt and max_tokens are {tokens} tokens; this key may use {limit} a minute",
                param="max_tokens",
            )
        await self._count("tokens_per_minute", caller, limit, tokens)

    async def _count(self, what: str, caller: Caller, limit: int | None, amount: int) -> None:
        if limit is None:
            return
        item = RateLimitItemPerMinute(limit, namespace=what)
        try:
            if await self._rates.hit(item, caller.name, cost=amount):
                return
            window = await self._rates.get_window_stats(item, caller.name)
        except StorageError:
            message = "the requests cannot be counted at present"
            raise Refusal(503, "limits_storage", message, retry_after=1) from None
        message = f"this key may use {limit} {what.replace('_', ' ')}"
        wait = max(1.0, window.reset_time - time.time())
        raise Refusal(429, what, message, retry_after=wait)


def _rates(storage: str) -> MovingWindowRateLimiter:
    uri = storage if storage.startswith("async+") else f"async+{storage}"
    client = {"implementation": "redispy"} if uri.startswith("async+redis") else {}
    try:
        return MovingWindowRateLimiter(storage_from_string(uri, wrap_exceptions=True, **client))
    except (ConfigurationError, NotImplementedError, ValueError):  # they may quote its password
        raise InputError(
            "limits_storage: the `limits` library does not know this scheme, cannot count a moving "
            "window there, or lacks its client (`pip install redis` for redis://)"
        ) from None


def _sha256(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _presented(authorization: str) -> str:
    """The key in an `Authorization` header; empty where there is none."""
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except ValueError:
            pass
    return ""


Entry = tuple[str, Any, Any]
"""Where it stands, for messages; the name; what the name is given."""


def _of_file(path: str | None) -> list[Entry]:
    if path is None:
        return []
    text = _read(path)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        pairs = loader.construct_pairs(node, deep=True) if node else []
    except (yaml.YAMLError, ValueError) as error:  # their messages quote the file
        mark = getattr(error, "problem_mark", None)
        near = f" near line {mark.line + 1}" if mark else ""
        raise InputError(f"{path} is no YAML mapping of names to keys{near}") from None
    if not pairs:
        raise InputError(f"{path} holds no key: an endpoint without any is open to everybody")
    return [(f"{path}, entry {number}", *pair) for number, pair in enumerate(pairs, 1)]


def _read(path: str) -> str:
    # That others may read it is left to who deploys: Kubernetes mounts secrets so.
    try:
        writable = Path(path).stat().st_mode & 0o002
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"the keys file {path} is missing, or no text that can be read") from None
    if writable:
        raise InputError(f"every user of this machine may write {path}: chmod o-w {path}")
    return text


def _of_environment() -> list[Entry]:
    if VARIABLE not in os.environ:
        return []
    found: list[Entry] = []
    for number, part in enumerate(os.environ[VARIABLE].split(","), 1):
        where = f"{VARIABLE}, entry {number}"
        name, equals, key = part.strip().partition("=")
        if not equals:
            raise InputError(f"{where}: give name=key,name=key, or unset the variable")
        found.append((where, name, key))
    return found


def _entry(where: str, name: Any, value: Any, defaults: Limits) -> tuple[bytes, Caller]:
    """The SHA-256 of an entry's key, and whose it is."""
    _check_name(where, name)
    where = f"{where} ({name})"
    fields = {"key": value} if not isinstance(value, dict) else dict(value)
    key, digest = fields.pop("key", None), fields.pop("sha256", None)
    limits = asdict(defaults)
    for field in fields:
        if field not in limits:
            shown = field if re.fullmatch("[a-z_]+", str(field)) else "..."  # it may be the key
            raise InputError(unknown_key(shown, ["key", "sha256", *limits], where))
    try:
        caller = Caller(name=name, limits=Limits(**(limits | fields)))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if digest is None and isinstance(key, str) and KEY.fullmatch(key):
        return _sha256(key), caller
    if key is None and isinstance(digest, str) and SHA256.fullmatch(digest):
        return bytes.fromhex(digest), caller
    raise InputError(
        f"{where}: give a key of 16 or more ASCII characters without spaces, or its sha256 in "
        "hexadecimal, in quotes where it is all digits"
    )


def _check_name(where: str, name: Any) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(
            f"{where}: a name is up to 32 ASCII letters, digits, '.', '_' or '-', in quotes where "
            "YAML reads it as a number or a truth value"
        )


def main() -> None:
    """Print a new key for a name, and what lets it in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of the key, for logs and limits")
    name = parser.parse_args().name
    _check_name("NAME", name)
    key = PREFIX + secrets.token_urlsafe(32)
    print(f"Give {name} this key; it is shown only now:\n{key}\n")
    print("Add this to the keys file:")
    print(yaml.safe_dump({name: {"sha256": _sha256(key).hex()}}), end="")


if __name__ == "__main__":
    with one_line_errors():
        main()
