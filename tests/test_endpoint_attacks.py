"""Hostile requests to a live endpoint: each gets its 4xx soon, memory stays, nothing is written."""

import base64
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests import hostile_files
from tests.live_endpoint import KEY, Live
from tests.small_data import picture

pytestmark = pytest.mark.slow

MARK = "QUOKKA-4711"  # in every request; must be in no log
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
SOON = 15  # seconds; a guard against hanging on a busy machine, no claim of speed
GROWTH = 400 << 20  # bytes that all processes together may grow by while one attack runs
MEBIBYTE = 1 << 20


def url_of(image: bytes, kind: str = "image/png") -> str:
    """A data URL."""
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"


def chat(*parts: dict[str, Any] | str, **settings: Any) -> bytes:
    """The body of a chat request; a text is a picture's address."""
    content = [
        {"type": "image_url", "image_url": {"url": part}} if isinstance(part, str) else part
        for part in parts
    ]
    content.append({"type": "text", "text": f"{MARK}?"})
    asked = {"messages": [{"role": "user", "content": content}], "max_tokens": 4, **settings}
    return json.dumps({"model": "doctor-sun", **asked}).encode()


def told(text: str, **settings: Any) -> bytes:
    """The body of a chat request without pictures."""
    messages = [{"role": "user", "content": f"{MARK} {text}"}]
    return json.dumps({"messages": messages, "max_tokens": 4, **settings}).encode()


def raw(text: str) -> bytes:
    """A body by hand, the mark in it."""
    return text.replace("MARK", MARK).encode()


@dataclass(frozen=True)
class Attack:
    """What is sent, and the code of the refusal."""

    body: Callable[[], bytes]
    status: int
    code: str
    path: str = "/v1/chat/completions"
    headers: tuple[tuple[str, str], ...] = ()


def files() -> Iterator[tuple[str, Attack]]:
    """Pictures that are none, or too large."""
    for name, make, status, code in (
        ("png_bomb", hostile_files.png_bomb, 413, "image_pixels"),
        ("png_of_text_bombs", hostile_files.png_with_text_bomb, 400, "unreadable_image"),
        ("animated_png", hostile_files.apng, 400, "image_animated"),
        ("gif_bomb", hostile_files.gif_bomb, 413, "image_pixels"),
        ("animated_gif", hostile_files.animated_gif, 400, "image_animated"),
        ("webp_bomb", hostile_files.webp_bomb, 413, "image_pixels"),
        ("jpeg_bomb", hostile_files.jpeg_bomb, 413, "image_pixels"),
        ("jpeg2000_bomb", hostile_files.jpeg2000_bomb, 400, "image_format"),
        ("tiff_bomb", hostile_files.tiff_bomb, 400, "image_format"),
        ("svg", hostile_files.svg, 400, "image_format"),
        ("random_bytes", lambda: MARK.encode() * 99, 400, "image_format"),
        ("no_bytes", lambda: b"", 400, "image_format"),
        ("truncated_png", lambda: picture(1)[:-40], 400, "unreadable_image"),
        ("dicom_bomb", hostile_files.dicom_bomb, 413, "image_pixels"),
        ("dicom_of_frames", hostile_files.dicom_of_frames, 413, "image_frames"),
        ("deflated_dicom", hostile_files.deflated_dicom_bomb, 413, "image_pixels"),
        ("nested_dicom", hostile_files.nested_dicom, 400, "unreadable_image"),
    ):
        yield name, Attack(lambda make=make: chat(url_of(make())), status, code)  # type: ignore[misc]


def addresses() -> Iterator[tuple[str, Attack]]:
    """Addresses that must not be fetched: fetching is off, or the form is not taken at all."""
    for address, code in (
        ("file:///etc/passwd", "image_url"),
        ("/etc/passwd", "image_url"),
        ("http://169.254.169.254/latest/meta-data/", "image_url"),
        ("http://127.0.0.1:8265/", "image_url"),
        ("http://2130706433/", "image_url"),
        ("ftp://example.org/x.png", "image_url"),
        ("gopher://127.0.0.1/x", "image_url"),
        ("data:text/html;base64,PGI+", "image_url"),
        ("data:image/png,plain", "image_url"),
        ("data:image/png;base64,####", "image_base64"),
        ("https://localhost/x.png", "remote_off"),
        ("https://2130706433/", "remote_off"),
        ("https://[::ffff:127.0.0.1]/", "remote_off"),
        ("https://127.0.0.1\\@example.org/", "remote_off"),
        ("HTTPS://0x7f.1/", "remote_off"),
    ):
        yield address, Attack(lambda a=address: chat(a), 400, code)  # type: ignore[misc]


def parameters() -> Iterator[tuple[str, Attack]]:
    """Parameters out of their range, of another type, or not ours."""
    for name, settings, code in (
        ("huge_n", {"n": 10**9}, "too_many_n"),
        ("negative_temperature", {"temperature": -1}, "invalid_parameter"),
        ("temperature_a_word", {"temperature": "hot"}, "invalid_parameter"),
        ("endless_answer", {"max_tokens": 10**12}, "invalid_parameter"),
        ("too_long_an_answer", {"max_tokens": 100_000}, "context_length_exceeded"),
        ("stops", {"stop": ["x"] * 9999}, "too_many_stop"),
        ("top_logprobs", {"logprobs": True, "top_logprobs": 10**6}, "invalid_parameter"),
        ("seed", {"seed": 2**80}, "invalid_parameter"),
        ("template", {"chat_template": "{{ 9 ** 9 ** 9 }}"}, "unknown_parameter"),
        ("embeddings", {"prompt_embeds": "gASVaaaa"}, "unknown_parameter"),
        ("processor", {"mm_processor_kwargs": {"size": 10**9}}, "unknown_parameter"),
        ("tools", {"tools": []}, "unknown_parameter"),
        ("bias", {"logit_bias": {"x": 1}}, "engine_refused"),
        ("biases", {"logit_bias": {str(i): 1 for i in range(9999)}}, "invalid_parameter"),
        ("stream_word", {"stream": "yes"}, "invalid_parameter"),
        ("schema_depth", {"response_format": _schema(_deep(60))}, "schema_too_large"),
        (
            "schema_count",
            {"response_format": _schema({"type": "string", "maxLength": 10**9})},
            "schema_too_large",
        ),
    ):
        yield name, Attack(lambda s=settings: told("x", **s), 400, code)  # type: ignore[misc]
    yield "another_model", Attack(lambda: told("x", model=MARK), 404, "model_not_found")


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


def _deep(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def bodies() -> Iterator[tuple[str, Attack]]:
    """Bodies that are too much, or no request."""
    invalid = "invalid_json"
    yield "nan", Attack(lambda: raw('{"messages":[],"temperature":NaN,"x":"MARK"}'), 400, invalid)
    yield "infinity", Attack(lambda: told("x")[:-1] + b',"top_p":1e999}', 400, "invalid_parameter")
    yield "half", Attack(lambda: told("x")[:-3], 400, invalid)
    yield "no_utf8", Attack(lambda: b'{"messages": "\xff\xfe"}', 400, invalid)
    yield "nested", Attack(lambda: b"[" * 100_000, 400, invalid)
    yield "empty", Attack(lambda: b"", 400, invalid)
    yield "a_list", Attack(lambda: raw('["MARK"]'), 400, "invalid_parameter")
    yield "null", Attack(lambda: b"null", 400, "invalid_parameter")
    yield "no_messages", Attack(lambda: raw('{"messages":[]}'), 400, "invalid_parameter")
    role = raw('{"messages":[{"role":"MARK","content":"x"}]}')
    yield "role", Attack(lambda: role, 400, "invalid_parameter")
    kind = raw('{"messages":[{"role":"user","content":[{"type":"MARK"}]}]}')
    yield "part", Attack(lambda: kind, 400, "invalid_parameter")
    yield "control", Attack(lambda: told("a\x00b\x1b[2J"), 400, "control_characters")
    yield "turns", Attack(lambda: told("<|eot_id|>"), 400, "special_tokens")
    yield "placeholder", Attack(lambda: told("<image>" * 50), 400, "special_tokens")
    yield "tokens", Attack(lambda: told("word " * 10**6), 400, "context_length_exceeded")
    yield "a_little_long", Attack(lambda: told("zone " * 350), 400, "context_length_exceeded")
    many = {"type": "text", "text": "x"}
    yield "parts", Attack(lambda: chat(*[url_of(b"x")] * 10_000), 400, "too_many_pictures")
    yield "texts", Attack(lambda: chat(*[many] * 100_000), 400, "context_length_exceeded")
    turns = [{"role": "user", "content": "x"}] * 10_000
    yield "messages", Attack(lambda: told("x", messages=turns), 400, "too_many_messages")
    yield (
        "picture",
        Attack(lambda: chat("data:image/png;base64," + "A" * (40 * MEBIBYTE)), 413, "image_bytes"),
    )
    yield "body", Attack(lambda: b" " * (70 * MEBIBYTE), 413, "body_bytes")
    plain = (("Content-Type", "text/plain"),)
    yield "content_type", Attack(lambda: told("x"), 415, "content_type", headers=plain)
    other = (("Origin", "https://evil.example"),)
    yield "origin", Attack(lambda: told("x"), 403, "origin", headers=other)
    wrong = (("Authorization", f"Bearer {MARK}"),)
    yield "key", Attack(lambda: told("x"), 401, "invalid_api_key", headers=wrong)
    yield "route", Attack(lambda: told("x"), 404, "not_found", path=f"/v1/{MARK}")
    yield "method", Attack(lambda: told("x"), 405, "method", path="/v1/models")
    dicom = raw('{"dicom":"MARK"}')
    yield "preview", Attack(lambda: dicom, 400, "image_base64", path="/v1/dicom/preview")
    frame = json.dumps({"dicom": "AAAA", "frame": -1}).encode()
    yield "frame", Attack(lambda: frame, 400, "invalid_parameter", path="/v1/dicom/preview")


ATTACKS = dict([*files(), *addresses(), *parameters(), *bodies()])


class Memory:
    """The most memory that the endpoint's processes take together, looked at all the time."""

    def __init__(self, live: Live) -> None:
        self.processes, self.most, self._end = live.processes(), 0, threading.Event()
        self.before = self.now()

    def now(self) -> int:
        """Bytes."""
        found = 0
        for process in self.processes:
            try:
                found += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return found

    def __enter__(self) -> "Memory":
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def _watch(self) -> None:
        while not self._end.wait(0.05):
            self.most = max(self.most, self.now())

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._watcher.join()


def check_refusal(answer: httpx.Response, attack: Attack) -> None:
    """It has its status, its code, OpenAI's form, and nothing of the input."""
    assert answer.status_code == attack.status, answer.text[:300]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == attack.code, error
    assert MARK not in answer.text
    assert len(answer.text) < 1000


@pytest.fixture(scope="module", autouse=True)
def nothing_is_written(live: Live) -> Iterator[None]:
    """After all attacks the endpoint answers, and no file has a word of them."""
    assert alive(live)
    yield
    assert alive(live)
    for file, content in live.texts_written():
        assert MARK.encode() not in content, file
        assert hostile_files.MARKER not in content, file


def alive(live: Live) -> bool:
    """Whether it answers a question about a picture."""
    parts = [{"type": "image_url", "image_url": {"url": url_of(picture(1))}}]
    messages: list[Any] = [{"role": "user", "content": [*parts, {"type": "text", "text": "?"}]}]
    answer = live.client().chat.completions.create(
        model="doctor-sun", messages=messages, max_tokens=2
    )
    return answer.usage is not None and answer.usage.completion_tokens > 0


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_request_gets_its_4xx(live: Live, name: str) -> None:
    attack = ATTACKS[name]
    body = attack.body()
    headers = {"Content-Type": "application/json", **AUTHORIZED, **dict(attack.headers)}
    with Memory(live) as memory:
        started = time.monotonic()
        answer = httpx.post(f"{live.root}{attack.path}", content=body, headers=headers, timeout=60)
        took = time.monotonic() - started
    check_refusal(answer, attack)
    assert took < SOON
    assert memory.most - memory.before < GROWTH


def test_a_gigabyte_in_pieces_is_ended_early(live: Live) -> None:
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield chat("data:image/png;base64,")[:-60]
        for _ in range(1024):
            sent += MEBIBYTE
            yield b"A" * MEBIBYTE

    headers = {"Content-Type": "application/json", **AUTHORIZED}
    with Memory(live) as memory:
        try:
            url = f"{live.url}/chat/completions"
            answer = httpx.post(url, content=pieces(), headers=headers, timeout=60)
            check_refusal(answer, Attack(bytes, 413, "body_bytes"))
        except httpx.WriteError:  # it closed while we were sending
            assert sent > 0
    assert sent < 512 * MEBIBYTE
    assert memory.most - memory.before < GROWTH
    assert alive(live)


def _connection(live: Live) -> socket.socket:
    place = urlsplit(live.root)
    return socket.create_connection((place.hostname or "", place.port or 0), timeout=30)


def _head(length: int) -> bytes:
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def test_a_body_that_drips_is_ended(live: Live) -> None:
    with _connection(live) as slow:
        slow.sendall(_head(1000) + b'{"messages"')
        started = time.monotonic()
        said = slow.recv(4096)
    assert b"408" in said.partition(b"\r\n")[0]
    assert time.monotonic() - started < SOON


def test_bodies_that_are_cut_off_and_heads_that_never_end_leave_it_alive(live: Live) -> None:
    for _ in range(50):
        with _connection(live) as cut:
            cut.sendall(_head(1000) + raw('{"messages": "MARK'))
    held = [_connection(live) for _ in range(100)]
    for connection in held:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nX-Slow: ")
    assert alive(live)
    for connection in held:
        connection.close()


def test_a_request_id_of_the_clients_is_replaced_unless_it_is_a_uuid(live: Live) -> None:
    def answered(given: str) -> str:
        headers = {**AUTHORIZED, "x-request-id": given}
        return httpx.get(f"{live.url}/models", headers=headers).headers["x-request-id"]

    own = "0b5a9d0c-6f5f-4b4e-9f5e-0123456789ab"
    assert answered(own) == own
    assert answered(MARK) != MARK


def test_a_key_over_its_rate_is_told_when_to_come_again(live: Live) -> None:
    headers = {"Authorization": f"Bearer {KEY}-slow", "Content-Type": "application/json"}
    answers = [
        httpx.post(f"{live.url}/chat/completions", content=told("?"), headers=headers, timeout=60)
        for _ in range(4)
    ]
    assert [a.status_code for a in answers] == [200, 200, 429, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61
    assert answers[-1].json()["error"]["code"] == "requests_per_minute"
