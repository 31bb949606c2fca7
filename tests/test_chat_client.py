"""The client against a real server: limits, Retry-After, classes of errors; the stored answers."""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr
from upath import UPath

from doctor_sun.asking.answers import (
    KEY_TYPE,
    AnswerIndex,
    Segment,
    answer_key,
    segment_places,
)
from doctor_sun.asking.chat_client import (
    Answer,
    ChatClient,
    EndpointConfig,
    Failed,
    parsed,
    retry_after,
)
from doctor_sun.errors import InputError
from tests.chat_server import ChatServer, Reply, Script

KEY = "sk-never-to-be-seen"
SECRET_TEXT = "the left kidney of case"


def body(number: int) -> str:
    content = json.dumps({"segments": [f"{SECRET_TEXT} {number}"]})
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]})


def with_client(
    server: ChatServer, do: Callable[[ChatClient], Awaitable[Any]], **settings: Any
) -> Any:
    """Run `do` with a client of the server, in an event loop of its own."""

    async def run() -> Any:
        values: dict[str, Any] = {"base_url": server.url, "actors": 1, "in_flight": 8}
        client = ChatClient(EndpointConfig(**(values | settings)), SecretStr(KEY))
        try:
            return await do(client)
        finally:
            await client.close()

    return asyncio.run(run())


async def ask(client: ChatClient, number: int) -> Answer:
    async with client.slots:
        return await client.ask(body(number), 100)


def once(reply: Reply) -> Script:
    """The reply to the first request of each content, a normal answer to the next."""
    return lambda content, before: None if before else reply


def always(reply: Reply) -> Script:
    return lambda content, before: reply


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=500, body='{"error": {"message": "' + SECRET_TEXT + '"}}'),
        Reply(status=503, body="<html>busy</html>"),
        Reply(status=429, body="{}", headers={"Retry-After": "0.2"}),
        Reply(status=200, body="<html>log in</html>"),
        Reply(status=200, body="{not json"),
        Reply(drop=True),
        Reply(delay=5),
    ],
    ids=["500", "503", "429", "page", "broken", "dropped", "timeout"],
)
def test_what_passes_is_tried_again(reply: Reply) -> None:
    with ChatServer(once(reply), key=KEY) as server:
        answer = with_client(server, lambda client: ask(client, 1), timeout=0.5)
        assert json.loads(answer.text)["segments"] == ["左肾的病例1"]
        assert server.asked.total() == 2


@pytest.mark.parametrize(
    ("reply", "kind", "requests"),
    [
        (Reply(status=500, body=f'{{"error": "{SECRET_TEXT}"}}'), "http 500", 2),
        (Reply(status=400, body=f'{{"error": "{SECRET_TEXT}"}}'), "http 400", 1),
        (Reply(status=429, body="{}", headers={"Retry-After": "3600"}), "http 429", 1),
        (Reply(status=200, body=f"<html>{SECRET_TEXT}</html>"), "not JSON", 2),
        (Reply(status=200, body='{"choices": []}'), "no chat completion", 1),
        (Reply(drop=True), "connection", 2),
        (Reply(delay=5), "timeout", 2),
    ],
)
def test_errors_are_classes_and_never_texts(
    reply: Reply, kind: str, requests: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def twice(client: ChatClient) -> None:
        await ask(client, 0)  # an endpoint that was reached before
        await ask(client, 1)

    with ChatServer(lambda content, before: reply if "case 1" in content else None) as server:
        with pytest.raises(Failed) as caught:
            with_client(server, twice, timeout=0.3, attempts=2, longest_wait=1)
        assert server.asked.total() == requests + 1
    assert str(caught.value) == caught.value.kind == kind
    assert caught.value.__cause__ is None
    for secret in (SECRET_TEXT, KEY):
        assert secret not in caplog.text


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_no_attempt_can_mend_is_an_input_error(status: int) -> None:
    with ChatServer(always(Reply(status=status, body="{}"))) as server:
        with pytest.raises(InputError, match=str(status)) as caught:
            with_client(server, lambda client: ask(client, 1), key_variable="GLM_KEY")
        assert server.asked.total() == 1
    assert KEY not in str(caught.value)
    assert ("GLM_KEY" in str(caught.value)) == (status < 404)


def test_retry_after_pauses_every_request_of_the_client() -> None:
    """While one request is told to wait, none of the others is sent."""
    told = first_of_all(Reply(status=429, body="{}", headers={"Retry-After": "1"}))
    with ChatServer(told, latency=0.02) as server:

        async def all_of_them(client: ChatClient) -> None:
            await asyncio.gather(*(ask(client, number) for number in range(24)))

        with_client(server, all_of_them, in_flight=4)
        gaps = np.diff(sorted(server.times))
        assert server.answered.total() == 24
        assert max(gaps) > 0.9
        assert sum(gaps > 0.5) == 1


def test_an_endpoint_that_is_not_there_is_an_input_error(unused_port: int) -> None:
    server = ChatServer(port=unused_port)  # never started
    with pytest.raises(InputError, match=r"endpoint\.base_url"):
        with_client(server, lambda client: ask(client, 1), attempts=2, longest_wait=0.1)


def first_of_all(reply: Reply) -> Script:
    """The reply to the very first request only."""
    waiting = [reply]
    return lambda content, before: waiting.pop() if waiting else None


def test_never_more_in_flight_than_allowed() -> None:
    with ChatServer(latency=0.02) as server:

        async def all_of_them(client: ChatClient) -> None:
            await asyncio.gather(*(ask(client, number) for number in range(60)))

        with_client(server, all_of_them, in_flight=12, actors=2)
        assert server.most_in_flight == 6  # this actor's half


def test_the_rate_holds_over_any_window() -> None:
    with ChatServer() as server:

        async def all_of_them(client: ChatClient) -> None:
            await asyncio.gather(*(ask(client, number) for number in range(30)))

        started = time.monotonic()
        with_client(server, all_of_them, in_flight=30, requests_per_minute=1200)
        times = np.array(sorted(server.times))
        assert time.monotonic() - started > 0.4
        for window in (0.25, 0.5):
            most = max(int(((times >= t) & (times < t + window)).sum()) for t in times)
            assert most <= 20 + 20 * window  # a second's worth at once, then the rate


def test_retry_after_as_seconds_and_as_a_date() -> None:
    assert retry_after({"Retry-After": "1.5"}) == 1.5
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    waited = retry_after({"Retry-After": soon})
    assert waited is not None
    assert 25 < waited <= 30
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({}) is None


def test_a_cut_answer_says_so() -> None:
    response = {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}
    assert parsed(json.dumps(response).encode()) == Answer(
        text="", finish="length", prompt_tokens=0, completion_tokens=0
    )


def made(number: int) -> Answer:
    return Answer(text=f"答{number}", finish="stop", prompt_tokens=number, completion_tokens=1)


@pytest.mark.parametrize("location", ["local", "memory"])
def test_answers_survive_what_was_cut_off(tmp_path: Path, location: str) -> None:
    folder = UPath(tmp_path / "a") if location == "local" else UPath(f"memory://{tmp_path}/a")
    keys = [answer_key("m", str(number)) for number in range(4)]
    segment = Segment(folder, keys)
    for number in range(3):
        segment.add(keys[number], made(number))
    if location == "memory":
        segment.sync()
    else:  # killed while it wrote the next: nothing synced, half a line
        with (folder / f"{segment.name}.jsonl").open("ab") as stream:
            stream.write(b'{"key": "' + keys[3].encode())
    again = Segment(folder, keys)
    assert again.known == set(keys[:3])
    again.add(keys[3], made(3))
    again.close()
    files = sorted(folder.glob("*.jsonl"), key=str)
    assert [p["key"] for file in files for p in segment_places(file)] == keys


@pytest.mark.slow
def test_the_index_finds_and_reads_answers(ray_cluster: None, tmp_path: Path) -> None:
    folder = UPath(tmp_path)
    keys = [answer_key("m", str(number)) for number in range(200)]
    for start in range(0, 200, 50):
        segment = Segment(folder, keys[start : start + 50])
        for number in range(start, start + 50):
            if number % 3:
                segment.add(keys[number], made(number))
        segment.close()
    index = AnswerIndex.of(folder)
    found = index.find(np.array(keys, KEY_TYPE)) >= 0
    assert found.tolist() == [bool(number % 3) for number in range(200)]
    read = index.places(np.array([*keys[7:120], ""], KEY_TYPE)).read()
    assert read == {keys[n]: made(n) for n in range(7, 120) if n % 3}
    assert index.prompt_tokens == sum(n for n in range(200) if n % 3)


def test_a_damaged_segment_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"key": "a"}\n{"key": "b"}\n')
    with pytest.raises(InputError, match=r"s\.jsonl, line 1"):
        segment_places(UPath(tmp_path / "s.jsonl"))
