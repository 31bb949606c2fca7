#!/usr/bin/env python
"""A real HTTP server for the chat page: its files under the endpoint's policy, scripted answers.

    python tests/page_server.py --port 8765

It speaks the endpoint's contract (settings, streamed answers, DICOM previews) and remembers what
it was asked. Each `Reply` of `replies` scripts one answer; without any it says a usual one.
"""

import argparse
import base64
import io
import json
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import anyio
import numpy as np
import pydicom
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import doctor_sun.serving

PAGE = Path(doctor_sun.serving.__file__).parent / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SETTINGS: Mapping[str, Any] = {
    "models": ["doctor-sun"],
    "disclaimer": {
        "en": "For research and for physicians to check. Not a medical device: never decide on "
        "an answer alone.",
        "zh": "仅供研究及医师核对使用。本系统不是医疗器械，请勿仅凭其回答作出诊疗决定。",
    },
    "max_images": 4,
    "max_image_bytes": 2**20,
    "examples": json.loads((PAGE / "examples.json").read_text(encoding="utf-8")),
}
PIECES = ("There is a nodule ", "in the upper zone ", "of the right lung.")
ANSWER = "".join(PIECES)
PHANTOM = PAGE / "examples" / "phantom-1.png"


def sent_images(request: dict[str, Any]) -> list[str]:
    """The images of a request, as URLs."""
    parts = [part for m in request["messages"] if m["role"] == "user" for part in m["content"]]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


@dataclass
class Reply:
    """What the server does with one question."""

    pieces: Sequence[str] = PIECES
    status: int = 200
    error: Mapping[str, Any] = field(default_factory=dict)
    """The error of a refusal, or of a stream that ends with one."""
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Literal["done", "error", "cut"] = "done"
    finish: str = "stop"
    hold: int | None = None
    """Pieces after which the stream waits until `release` is set."""
    delay: float = 0.0
    """Seconds before each piece."""


class PageServer:
    """The server in a thread of its own: `with PageServer() as server: server.url`."""

    def __init__(self, port: int = 0, settings: Mapping[str, Any] | None = None) -> None:
        self.settings = {**SETTINGS, **(settings or {})}
        self.replies: list[Reply] = []
        self.usual = Reply()
        self.asked: list[dict[str, Any]] = []
        self.previewed: list[dict[str, Any]] = []
        self.preview_reply: Reply | None = None  # the refusal of every preview
        self.gone = threading.Event()  # a client left before its answer ended
        self.release = threading.Event()
        routes = [
            Route("/", self.index),
            Route("/page/settings.json", self.tell_settings),
            Route("/v1/chat/completions", self.complete, methods=["POST"]),
            Route("/v1/dicom/preview", self.preview, methods=["POST"]),
            Mount("/page", StaticFiles(directory=PAGE)),
        ]
        config = uvicorn.Config(
            _with_policy(Starlette(routes=routes)), port=port, log_level="error", lifespan="off"
        )
        self.server = uvicorn.Server(config)

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/"
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self.server.should_exit = True
        self.thread.join(10)

    async def index(self, _: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    async def tell_settings(self, _: Request) -> Response:
        return JSONResponse(self.settings)

    async def complete(self, request: Request) -> Response:
        self.asked.append(await request.json())
        reply = self.replies.pop(0) if self.replies else self.usual
        headers = {"x-request-id": f"request-{len(self.asked)}", **reply.headers}
        if reply.status != 200:
            return JSONResponse({"error": reply.error}, reply.status, headers)
        return StreamingResponse(
            self.events(reply), media_type="text/event-stream", headers=headers
        )

    async def events(self, reply: Reply) -> AsyncIterator[str]:
        """The answer as server-sent events."""
        complete = False
        try:
            for number, piece in enumerate(reply.pieces):
                await anyio.sleep(reply.delay)
                await self.held(number == reply.hold)
                yield _event({"choices": [{"delta": {"content": piece}, "finish_reason": None}]})
            await self.held(len(reply.pieces) == reply.hold)
            if reply.ending == "cut":
                raise ConnectionAbortedError
            if reply.ending == "error":
                yield _event({"error": reply.error})
            else:
                yield _event({"choices": [{"delta": {}, "finish_reason": reply.finish}]})
                usage = {"prompt_tokens": 9, "completion_tokens": len(reply.pieces)}
                yield _event({"choices": [], "usage": usage})
            yield "data: [DONE]\n\n"
            complete = True
        finally:
            if not complete:
                self.gone.set()

    async def held(self, hold: bool) -> None:
        """Wait for `release`, if the answer is to be held here."""
        while hold and not self.release.is_set():
            await anyio.sleep(0.02)

    async def preview(self, request: Request) -> Response:
        asked = await request.json()
        self.previewed.append({key: asked.get(key) for key in ("frame", "window")})
        if self.preview_reply:
            reply = self.preview_reply
            await anyio.sleep(reply.delay)
            return JSONResponse({"error": reply.error}, reply.status, dict(reply.headers))
        return JSONResponse(_preview(base64.b64decode(asked["dicom"]), **self.previewed[-1]))


def _with_policy(application: Any) -> Any:
    """Send the endpoint's policy with every answer."""

    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"content-security-policy", POLICY.encode()))
                message["headers"].append((b"x-content-type-options", b"nosniff"))
            await send(message)

        await application(scope, receive, sending)

    return wrapped


def _event(data: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def _preview(encoded: bytes, frame: int, window: Mapping[str, float] | None) -> dict[str, Any]:
    """One frame of a DICOM file; a grey one with the range of its values, and its window."""
    data = pydicom.dcmread(io.BytesIO(encoded))
    pixels = data.pixel_array.reshape(-1, data.Rows, data.Columns, data.SamplesPerPixel)
    shown, lowest, highest = pixels[frame].squeeze().astype(float), None, None
    if data.SamplesPerPixel == 1:
        lowest, highest = float(shown.min()), float(shown.max())
        window = window or {"center": float(data.WindowCenter), "width": float(data.WindowWidth)}
        shown = 255 * ((shown - window["center"]) / window["width"] + 0.5)
    stream = io.BytesIO()
    Image.fromarray(np.clip(shown, 0, 255).astype(np.uint8)).save(stream, "PNG")
    return {
        "image": f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}",
        "width": data.Columns,
        "height": data.Rows,
        "frames": len(pixels),
        "frame": frame,
        "window": window,
        "lowest": lowest,
        "highest": highest,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, default=8765)
    with PageServer(parser.parse_args().port) as server:
        server.usual = Reply(delay=0.5)
        print(server.url, flush=True)
        server.thread.join()
