"""Requests -> stored answers through Ray Data: every request that has no answer yet, once.

The driver knows which keys are asked for and which are answered, so that no two actors ever pay for
one key. Actors keep their share of the limits, whatever block they work on.
"""

import asyncio
import atexit
import json
import pickle
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from numpy.typing import NDArray
from pydantic import SecretStr
from upath import UPath

from doctor_sun.data.rows import Row, tables
from doctor_sun.data.translation.answers import KEY_TYPE, AnswerIndex, Keys, Places, Segment
from doctor_sun.data.translation.budget import Allowance, BudgetConfig, cost
from doctor_sun.data.translation.chat_client import Answer, ChatClient, EndpointConfig, Failed
from doctor_sun.data.translation.prompts import Request
from doctor_sun.errors import InputError

ASKS = pa.schema(
    [
        *(("key", pa.string()), ("body", pa.string())),
        *(("most_prompt", pa.int64()), ("most_completion", pa.int64())),  # tokens
    ]
)
DONE = pa.schema(
    [
        *(("key", pa.string()), ("error", pa.string())),
        *(("prompt_tokens", pa.int64()), ("completion_tokens", pa.int64())),
    ]
)
NO_BUDGET = "no budget"  # error of a request that was not sent
STOP = "stop: "  # before the message of an error that ends the job
MOST_IN_BATCH = 2048
LEAST_IN_BATCH = 16
TEXT_COLUMNS = ("id", "source", "source_key", "domain", "language", "task", "turns")
CALLS = 2  # batches that an actor works on: while one waits for its last answers, the next begins
SAY_EVERY = 30.0  # seconds

Build = Callable[[Sequence[Row], Mapping[str, Answer]], Sequence[Request | None]]
"""From rows and the answers they need to one request a row; None asks nothing."""
Choose = Callable[[str], NDArray[np.int32]]
"""From a file to the numbers of the rows that are worked on, rising."""
Ask = Callable[[ray.data.Dataset], ray.data.Dataset]
"""From `ASKS` to `DONE`; stores the answers."""


@dataclass(frozen=True)
class Work:
    """Some rows of a file, and where the answers stand that they need."""

    file: str
    rows: NDArray[np.int32]
    """Their numbers in the file, rising."""
    places: Places | None = None

    def table(self, columns: Sequence[str] | None = TEXT_COLUMNS) -> pa.Table:
        """The rows; None reads all columns."""
        with UPath(self.file).open("rb") as stream:
            return pq.read_table(stream, columns=columns and list(columns)).take(self.rows)

    def requests(self, build: Build) -> Sequence[Request | None]:
        """One request a row, or None."""
        answers = self.places.read() if self.places else {}
        return build(self.table().to_pylist(), answers)


def in_tasks(works: Sequence[Work], do: Callable[[int, Work], pa.Table]) -> ray.data.Dataset:
    """`do(number, work)` for each piece of work, in Ray Data tasks."""
    rows = [{"number": n, "work": pickle.dumps(work)} for n, work in enumerate(works)]

    def each(listed: pa.Table) -> pa.Table:
        return pa.concat_tables(
            [do(row["number"], pickle.loads(row["work"])) for row in listed.to_pylist()]
        )

    listed = ray.data.from_items(rows, override_num_blocks=max(1, len(rows)))
    return listed.map_batches(each, batch_format="pyarrow", batch_size=None)


def request_keys(
    works: Sequence[Work], build: Build, choose: Choose | None = None
) -> tuple[list[Work], list[Keys]]:
    """The key of each row's request, empty where nothing is asked.

    Args:
        works: rows, or with `choose` files of which it chooses rows.
        build: from rows to requests.
        choose: from a file to the numbers of its rows.

    Returns:
        The works, rows chosen, and [works][rows] the keys.
    """

    def keys_of(number: int, work: Work) -> pa.Table:
        work = Work(work.file, choose(work.file), work.places) if choose else work
        keys = [request.key if request else "" for request in work.requests(build)]
        arrays = (work.rows.tobytes(), np.array(keys, KEY_TYPE).tobytes())
        rows, joined = (pa.array([array], pa.binary()) for array in arrays)
        return pa.table({"number": [number], "rows": rows, "keys": joined})

    found = {r["number"]: r for t in tables(in_tasks(works, keys_of)) for r in t.to_pylist()}
    chosen = [
        Work(work.file, np.frombuffer(found[n]["rows"], np.int32), work.places)
        for n, work in enumerate(works)
    ]
    return chosen, [np.frombuffer(found[n]["keys"], KEY_TYPE) for n in range(len(works))]


def missing_works(
    works: Sequence[Work], keys: Sequence[Keys], index: AnswerIndex, actors: int
) -> list[Work]:
    """The work that is left: the first row of each key that has no answer, in batches."""
    together = np.concatenate([np.zeros(0, KEY_TYPE), *keys])
    _, first = np.unique(together, return_index=True)
    wanted = np.zeros(len(together), bool)
    wanted[first] = True
    wanted &= (together != b"") & (index.find(together) < 0)
    size = -(-int(wanted.sum()) // (4 * actors))
    size = min(MOST_IN_BATCH, max(LEAST_IN_BATCH, size))
    left, start = [], 0
    for work, own in zip(works, keys, strict=True):
        rows = work.rows[wanted[start : start + len(own)]]
        start += len(own)
        left += [
            Work(work.file, rows[at : at + size], work.places) for at in range(0, len(rows), size)
        ]
    return left


def ask_missing(
    works: Sequence[Work], build: Build, ask: Ask, say: Callable[[str], None]
) -> dict[str, str]:
    """Ask for everything that `works` still needs; the classes of the final errors by key.

    Raises:
        InputError: the budget is spent, or the endpoint cannot work at all.
    """

    def asks_of(_: int, work: Work) -> pa.Table:
        requests = [request for request in work.requests(build) if request]
        return pa.table(
            {
                "key": [request.key for request in requests],
                "body": [json.dumps(request.body, ensure_ascii=False) for request in requests],
                "most_prompt": [request.most_prompt_tokens for request in requests],
                "most_completion": [request.body["max_tokens"] for request in requests],
            },
            schema=ASKS,
        )

    total, answered, unsent = sum(len(work.rows) for work in works), 0, 0
    errors: dict[str, str] = {}
    said = started = time.monotonic()
    for table in tables(ask(in_tasks(works, asks_of))) if works else ():
        failed = {r["key"]: r["error"] for r in table.to_pylist() if r["error"]}
        if failed.get("", "").startswith(STOP):
            raise InputError(failed[""].removeprefix(STOP))
        answered += table.num_rows - len(failed)
        unsent += sum(error == NO_BUDGET for error in failed.values())
        errors |= {key: error for key, error in failed.items() if error != NO_BUDGET}
        if time.monotonic() - said > SAY_EVERY:
            said = time.monotonic()
            say(f"{answered} of {total} answered, {len(errors)} failed, {said - started:.0f} s")
    if unsent:
        raise InputError(
            f"the budget is spent: {answered} of {total} requests of this step were answered and "
            "are kept; the same command with a higher budget goes on"
        )
    return errors


def endpoint_asker(
    endpoint: EndpointConfig, budget: BudgetConfig, key: SecretStr, purse: Any, folder: UPath
) -> Ask:
    """Ask an endpoint, from a fixed number of actors."""

    def ask(asks: ray.data.Dataset) -> ray.data.Dataset:
        return asks.map_batches(
            Asker,
            fn_constructor_args=(endpoint, budget, key, purse, str(folder)),
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(
                size=endpoint.actors,
                max_concurrent_calls_per_actor=CALLS,
                max_tasks_in_flight_per_actor=2 * CALLS,
            ),
            num_cpus=0.5,
        )

    return ask


class Asker:
    """A Ray Data actor that sends requests: batches of `ASKS` in, `DONE` out."""

    def __init__(
        self,
        endpoint: EndpointConfig,
        budget: BudgetConfig,
        key: SecretStr,
        purse: Any,
        folder: str,
    ) -> None:
        self.budget, self.folder = budget, UPath(folder)
        self.stopped: InputError | None = None
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

        async def open_client() -> tuple[ChatClient, Allowance]:
            return ChatClient(endpoint, key), Allowance(purse, budget)

        self.client, self.allowance = self._run(open_client())
        atexit.register(lambda: self._run(self.client.close()))

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Answer a batch; several batches share the limits."""
        return self._run(self._answer(batch.to_pylist()))

    async def _answer(self, asks: Sequence[Row]) -> pa.Table:
        segment = Segment(self.folder, [ask["key"] for ask in asks])
        try:
            async with asyncio.TaskGroup() as group:  # the first error ends the others
                tasks = [group.create_task(self._ask_one(ask, segment)) for ask in asks]
        except BaseExceptionGroup as errors:
            self.stopped = next((e for e in errors.exceptions if isinstance(e, InputError)), None)
            if self.stopped is None:
                raise errors.exceptions[0] from None
            # As a row: Ray Data loses an exception's cause, and prints the whole stack.
            row = {"key": "", "error": f"{STOP}{self.stopped}"}
            return pa.Table.from_pylist([row], schema=DONE)
        finally:
            await asyncio.to_thread(segment.close)
            await self.allowance.close()
        return pa.Table.from_pylist([task.result() for task in tasks], schema=DONE)

    async def _ask_one(self, ask: Row, segment: Segment) -> dict[str, Any]:
        """One row of `DONE`; the answer is stored before it counts."""
        done = {"key": ask["key"], "error": "", "prompt_tokens": 0, "completion_tokens": 0}
        if ask["key"] in segment.known:
            return done
        async with self.client.slots:  # only what is about to be sent is covered
            if self.stopped:
                raise self.stopped
            return done | await self._send(ask, segment)

    async def _send(self, ask: Row, segment: Segment) -> dict[str, Any]:
        answer, tokens = None, (ask["most_prompt"], ask["most_completion"])
        most = cost(*tokens, self.budget)
        if not await self.allowance.take(most):
            return {"error": NO_BUDGET}
        try:
            answer = await self.client.ask(ask["body"], sum(tokens))
            if segment.add(ask["key"], answer):
                await asyncio.to_thread(segment.sync)
        except Failed as failure:
            return {"error": failure.kind}
        finally:
            self.allowance.settle(most, answer)
        return {name: getattr(answer, name) for name in ("prompt_tokens", "completion_tokens")}
