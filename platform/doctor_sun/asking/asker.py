"""Requests -> stored answers through Ray Data: an endpoint asked by a fixed number of actors.

Actors keep their share of the endpoint's limits, whatever block they work on.
"""

import asyncio
import atexit
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import ray.data
from pydantic import SecretStr
from upath import UPath

from doctor_sun.asking.answers import Segment
from doctor_sun.asking.budget import Allowance, BudgetConfig, cost
from doctor_sun.asking.chat_client import ChatClient, EndpointConfig, Failed
from doctor_sun.errors import InputError, disk_is_full, no_space

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
SAY_EVERY = 30.0  # seconds
CALLS = 2  # batches that an actor works on: while one waits for its last answers, the next begins

Ask = Callable[[ray.data.Dataset], ray.data.Dataset]
"""From `ASKS` to `DONE`; stores the answers."""


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

    async def _answer(self, asks: Sequence[Mapping[str, Any]]) -> pa.Table:
        segment = Segment(self.folder, [ask["key"] for ask in asks])
        try:
            async with asyncio.TaskGroup() as group:  # the first error ends the others
                tasks = [group.create_task(self._ask_one(ask, segment)) for ask in asks]
        except BaseExceptionGroup as errors:
            if self.stopped is None:
                raise errors.exceptions[0] from None
            # As a row: Ray Data loses an exception's cause, and prints the whole stack.
            row = {"key": "", "error": f"{STOP}{self.stopped}"}
            return pa.Table.from_pylist([row], schema=DONE)
        finally:
            await asyncio.to_thread(segment.close)
        return pa.Table.from_pylist([task.result() for task in tasks], schema=DONE)

    async def _ask_one(self, ask: Mapping[str, Any], segment: Segment) -> dict[str, Any]:
        """One row of `DONE`; the answer is stored before it counts."""
        done = {"key": ask["key"], "error": "", "prompt_tokens": 0, "completion_tokens": 0}
        if ask["key"] in segment.known:
            return done
        async with self.client.slots:  # only what is about to be sent is covered
            if self.stopped:
                raise self.stopped
            try:
                return done | await self._send(ask, segment)
            except InputError as error:  # known at once: the next in line would be sent already
                self.stopped = error
                raise

    async def _send(self, ask: Mapping[str, Any], segment: Segment) -> dict[str, Any]:
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
        except OSError as error:
            raise no_space(self.folder) if disk_is_full(error) else error from None
        finally:
            self.allowance.settle(most, answer)
        return {name: getattr(answer, name) for name in ("prompt_tokens", "completion_tokens")}


def follow(asked: ray.data.Dataset, total: int, say: Callable[[str], None]) -> dict[str, str]:
    """Run the asking and say how far it is; the classes of the final errors by key.

    Args:
        asked: rows of `DONE`.
        total: how many there will be.
        say: prints one line.

    Raises:
        InputError: the budget is spent, or the endpoint cannot work at all.
    """
    answered = unsent = 0
    errors: dict[str, str] = {}
    said = started = time.monotonic()
    tables: Iterable[Any] = asked.iter_batches(batch_size=None, batch_format="pyarrow")
    for table in tables:
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
