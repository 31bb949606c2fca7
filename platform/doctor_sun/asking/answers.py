"""Every answer that was paid for, stored by the hash of what decides it, never asked for again.

A folder of JSON Lines segments, one a batch of requests and named after it, so that a batch that is
tried again finds what its first try was told. Local segments are appended to as answers come: a
killed process loses nothing that it was told, a power cut at most what came since the last fsync.
Object stores cannot append: there every group of answers is an object of its own.
"""

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from upath import UPath

from doctor_sun.asking.chat_client import Answer
from doctor_sun.errors import InputError
from doctor_sun.files import append_whole, in_object_store
from doctor_sun.records import sha256

KEY_LENGTH = 32  # hexadecimal digits: 128 bits
KEY_TYPE = f"S{KEY_LENGTH}"
GROUP = 64  # answers between two fsyncs, at most
GROUP_SECONDS = 5.0
NUMBERS = ("offset", "length", "prompt_tokens", "completion_tokens")
Keys = NDArray[np.bytes_]


def answer_key(*parts: str) -> str:
    """The name of an answer: a hash of model, prompt, decoding and content."""
    return sha256(*parts)[:KEY_LENGTH]


class Segment:
    """Where one batch's answers are written; opened again by a batch that is tried again."""

    def __init__(self, folder: UPath, keys: Sequence[str]) -> None:
        """Open the segment of a batch of keys.

        Args:
            folder: of all segments.
            keys: of the batch, in order.
        """
        self.folder, self.name = folder, sha256(*keys)[:KEY_LENGTH]
        self.local = not in_object_store(folder)
        folder.mkdir(parents=True, exist_ok=True)
        files = sorted(folder.glob(f"{self.name}*.jsonl"), key=str)
        self.known = {place["key"] for file in files for place in segment_places(file)}
        self.waiting: list[bytes] = []
        self.synced = time.monotonic()
        self.objects = len(files)
        self.file = _appended(folder / f"{self.name}.jsonl") if self.local else None

    def add(self, key: str, answer: Answer) -> bool:
        """Write one answer; whether `sync` is due.

        Raises:
            OSError: there is no room for it; nothing of it stays.
        """
        line = json.dumps({"key": key, **asdict(answer)}, ensure_ascii=False).encode() + b"\n"
        if self.file:
            append_whole(self.file, line)
        self.waiting.append(line)
        return len(self.waiting) >= GROUP or time.monotonic() - self.synced > GROUP_SECONDS

    def sync(self) -> None:
        """Make durable what was added."""
        group, self.waiting, self.synced = self.waiting, [], time.monotonic()
        if self.file:
            os.fsync(self.file.fileno())
        elif group:
            (self.folder / f"{self.name}-{self.objects:06d}.jsonl").write_bytes(b"".join(group))
            self.objects += 1

    def close(self) -> None:
        """Make everything durable."""
        self.sync()
        if self.file:
            self.file.close()


def _appended(path: UPath) -> IO[bytes]:
    """A local file at its end; a line that a killed process left unfinished is cut off."""
    file: IO[bytes] = open(path.path, "ab+", buffering=0)  # noqa: PTH123, SIM115
    file.seek(0)
    whole = file.read().rpartition(b"\n")
    file.truncate(len(whole[0]) + len(whole[1]))
    return file


def segment_places(file: UPath) -> list[dict[str, Any]]:
    """Key and `NUMBERS` of each answer of a segment.

    Raises:
        InputError: a line is no stored answer; only the last may be unfinished.
    """
    places, offset = [], 0
    for number, line in enumerate(file.read_bytes().splitlines(keepends=True), 1):
        if not line.endswith(b"\n"):
            break  # a killed process's last
        try:
            stored = json.loads(line)
            place = {name: stored[name] for name in ("key", "prompt_tokens", "completion_tokens")}
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{file}, line {number}: not a stored answer") from None
        places.append(place | {"offset": offset, "length": len(line)})
        offset += len(line)
    return places


@dataclass(frozen=True)
class Places:
    """Where some answers stand."""

    keys: Keys
    file: NDArray[np.int32]
    """Number of the file in `files`."""
    offset: NDArray[np.int64]
    """First byte."""
    length: NDArray[np.int64]
    """Bytes."""
    files: Sequence[str]

    def read(self) -> dict[str, Answer]:
        """The answers by key; each file is opened once and read in order."""
        answers: dict[str, Answer] = {}
        for number in np.unique(self.file):
            own = np.flatnonzero(self.file == number)
            with UPath(self.files[number]).open("rb") as stream:
                for at in own[np.argsort(self.offset[own])]:
                    stream.seek(int(self.offset[at]))
                    stored = json.loads(stream.read(int(self.length[at])))
                    values = {name: stored[name] for name in Answer.__dataclass_fields__}
                    answers[self.keys[at].decode()] = Answer(**values)
        return answers


@dataclass(frozen=True)
class AnswerIndex:
    """Which answers are there: 32 bytes of key and 20 of place each, sorted, on the driver."""

    keys: Keys
    file: NDArray[np.int32]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    files: Sequence[str]
    prompt_tokens: int
    completion_tokens: int

    @classmethod
    def of(cls, folder: UPath) -> "AnswerIndex":
        """Read the index of a folder of segments; of two answers under one key the first counts."""
        files = sorted(folder.glob("*.jsonl"), key=str)
        with ThreadPoolExecutor(8) as pool:
            segments = list(pool.map(_segment_arrays, files))
        keys = np.concatenate([np.zeros(0, KEY_TYPE), *(own for own, _ in segments)])
        none = np.zeros((0, len(NUMBERS)), np.int64)
        numbers = np.concatenate([none, *(own for _, own in segments)])
        file = np.repeat(np.arange(len(files)), [len(own) for own, _ in segments])
        found, first = np.unique(keys, return_index=True)
        return cls(
            keys=found,
            file=file[first].astype(np.int32),
            offset=numbers[first, 0],
            length=numbers[first, 1],
            files=[str(file) for file in files],
            prompt_tokens=int(numbers[:, 2].sum()),
            completion_tokens=int(numbers[:, 3].sum()),
        )

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """[keys] position of each key in the index, -1 where it has no answer."""
        if not len(self.keys):
            return np.full(len(keys), -1, np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, at, -1)

    def places(self, keys: Keys) -> Places:
        """Where the answers of these keys stand, those that there are."""
        at = self.find(keys)
        at = np.unique(at[at >= 0])
        used, file = np.unique(self.file[at], return_inverse=True)
        files = [self.files[number] for number in used]
        return Places(self.keys[at], file.astype(np.int32), self.offset[at], self.length[at], files)


def _segment_arrays(file: UPath) -> tuple[Keys, NDArray[np.int64]]:
    """[answers] keys and [answers, 4] `NUMBERS` of a segment."""
    places = segment_places(file)
    numbers = np.array([[place[name] for name in NUMBERS] for place in places], np.int64)
    keys = np.array([place["key"] for place in places], KEY_TYPE)
    return keys, numbers.reshape(-1, len(NUMBERS))
