#!/usr/bin/env python
"""A small OpenAI-compatible server for tests and benchmarks: real sockets, scripted behaviour.

    python tests/chat_server.py --latency 0.1

It translates word by word from a short list, scores whatever a judge is asked (or says what `says`
makes of a request), and counts what it sees: requests by content, answers by content, the most
requests at a time. `script` says what else happens: an error status, a page instead of JSON, a
delay, a dropped connection.
"""

import argparse
import asyncio
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import uvloop

WORDS = {
    **{"the": "", "a": "", "is": "为", "shows": "显示", "of": "的", "with": "伴"},
    **{"left": "左", "right": "右", "lung": "肺", "kidney": "肾", "nodule": "结节"},
    **{"no": "无", "mm": "毫米", "mg": "毫克", "case": "病例", "which": "哪", "side": "侧"},
    **{"effusion": "积液", "clear": "清晰", "liver": "肝", "yes": "是", "what": "什么"},
    **{"seen": "见到", "dose": "剂量", "chest": "胸部", "image": "影像"},
}
WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True)
class Reply:
    """What the server does with one request."""

    status: int = 200
    body: str | None = None
    """None answers as a model would."""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds on top of the server's latency."""
    drop: bool = False
    """Close the connection without an answer."""


Script = Callable[[str, int], Reply | None]
"""From a request's content and how often it was seen before to what happens; None is normal."""


def translated(text: str) -> str:
    """The text with every known word replaced; others and marks stay."""
    words = WORD.sub(lambda word: WORDS.get(word[0].lower(), "某"), text)
    return words.replace(" ", "").replace(",", "，").replace("?", "？").replace(".", "。")


def translation(request: Mapping[str, Any]) -> str:
    """What a translator says: scores for a judge's request, else the texts translated."""
    content = json.loads(request["messages"][-1]["content"])
    if "translation" in content:
        said: dict[str, Any] = {"fluency": 5, "adequacy": 5}
    else:
        said = {"segments": [translated(text) for text in content["segments"]]}
    return json.dumps(said, ensure_ascii=False)


def completion(request: Mapping[str, Any], text: str) -> str:
    """The body of an answer."""
    return json.dumps(
        {
            "id": "chatcmpl-0",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": request["model"],
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": sum(len(m["content"]) for m in request["messages"]) // 4,
                "completion_tokens": len(text) // 2,
                "total_tokens": 0,
            },
        },
        ensure_ascii=False,
    )


class ChatServer:
    """The server in a thread of its own: `with ChatServer() as server: server.url`."""

    def __init__(
        self,
        script: Script | None = None,
        *,
        says: Callable[[Mapping[str, Any]], str] = translation,
        latency: float = 0.0,
        key: str = "",
        port: int = 0,
    ) -> None:
        self.script = script or (lambda content, before: None)
        self.says, self.latency, self.key, self.port = says, latency, key, port
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.times: list[float] = []
        self.last_answer = 0.0
        self.silent_after: int | None = None  # so many answers, and then none: clients wait
        self.in_flight = self.most_in_flight = 0
        self.ready = threading.Event()

    @property
    def url(self) -> str:
        """The base URL for a client."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        self.ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.stopped.set)
        self.thread.join(10)

    def run(self) -> None:
        """Serve until it is stopped."""
        uvloop.run(self._serve())

    async def _serve(self) -> None:
        self.loop, self.stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await self.loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, backlog=512
        )
        self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        await self.stopped.wait()
        server.close()


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with Content-Length, one request at a time."""

    def __init__(self, server: ChatServer) -> None:
        self.server, self.buffer, self.pending = server, b"", 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        self.server.in_flight -= self.pending
        self.pending = 0

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        size = int(length[1]) if length else 0
        if not found or len(rest) < size:
            return
        self.buffer = rest[size:]
        self.request(head.decode("latin-1"), rest[:size])

    def request(self, head: str, body: bytes) -> None:
        """Take one request in; its answer is written after the latency."""
        server = self.server
        if head.startswith("GET"):
            return self.write(Reply(body=json.dumps(self.figures())))
        self.pending += 1
        server.in_flight += 1
        server.most_in_flight = max(server.most_in_flight, server.in_flight)
        server.times.append(time.monotonic())
        asked = json.loads(body)
        content = asked["messages"][-1]["content"]
        content = content if isinstance(content, str) else json.dumps(content)
        before = server.asked[content]
        server.asked[content] += 1
        reply = server.script(content, before) or Reply()
        if server.key and f"bearer {server.key}".lower() not in head.lower():
            reply = Reply(status=401, body='{"error": {"message": "wrong key"}}')
        server.loop.call_later(server.latency + reply.delay, self.answer, asked, content, reply)

    def answer(self, asked: Any, content: str, reply: Reply) -> None:
        """Write the answer, if the client is still there."""
        silent = self.server.silent_after
        if not self.pending or (silent is not None and self.server.answered.total() >= silent):
            return
        self.pending -= 1
        self.server.in_flight -= 1
        if reply.drop:
            self.transport.abort()
            return
        if reply.status == 200 and reply.body is None:
            self.server.answered[content] += 1
            self.server.last_answer = time.monotonic()
        self.write(reply, asked)

    def write(self, reply: Reply, asked: Any = None) -> None:
        said = reply.body
        if said is None:
            said = completion(asked, self.server.says(asked))
        body = said.encode()
        kind = "application/json" if body.startswith(b"{") else "text/html"
        given = {"Content-Type": kind, "Content-Length": len(body), **reply.headers}
        lines = [f"{name}: {value}\r\n" for name, value in given.items()]
        head = f"HTTP/1.1 {reply.status} Said\r\n{''.join(lines)}\r\n"
        self.transport.write(head.encode("latin-1") + body)

    def figures(self) -> dict[str, float]:
        """What `GET` answers, since the last `GET`: the server's own measure of a client's speed.

        `steady` leaves out the first and the last fifth of the requests: start-up and the end.
        """
        server = self.server
        times, server.times = server.times, []
        most, server.most_in_flight = server.most_in_flight, server.in_flight
        fifth = len(times) // 5
        middle = times[fifth : len(times) - fifth]
        return {
            "requests": len(times),
            "most_in_flight": most,
            "seconds": server.last_answer - times[0] if times else 0.0,
            "steady": (len(middle) - 1) / (middle[-1] - middle[0]) if len(middle) > 1 else 0.0,
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--latency", type=float, default=0.1, help="seconds")
    arguments = parser.parse_args()
    ChatServer(port=arguments.port, latency=arguments.latency).run()
