"""Start the endpoint on a Ray cluster and wait until it answers; ask it; stop it."""

import base64
import io
import logging
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError

from doctor_sun.errors import InputError
from doctor_sun.serving.application import QUIET, ServeConfig, build_application
from doctor_sun.serving.guard.keys import Keys
from doctor_sun.vllm_engine import check_model_folder

APPLICATION = "doctor-sun"
PROGRESS_SECONDS = 10


def check_port(host: str, port: int) -> None:
    """Refuse a port that another program listens on.

    Raises:
        InputError: the port is in use.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            raise InputError(f"port {port} is in use: stop what uses it or take another") from None


@contextmanager
def progress(say: Callable[[str], None], what: str) -> Iterator[None]:
    """Say every few seconds that something is still going on, and how long it took."""
    started, done = time.time(), threading.Event()

    def tell() -> None:
        while not done.wait(PROGRESS_SECONDS):
            say(f"{what} ({time.time() - started:.0f} s)")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def start(
    config: ServeConfig,
    port: int = 8000,
    host: str = "127.0.0.1",
    say: Callable[[str], None] = print,
) -> str:
    """Serve a model on the connected Ray cluster; returns the base URL of its OpenAI API.

    Args:
        config: the model and how it is served.
        port: where the endpoint listens.
        host: the address it listens on; `0.0.0.0` opens it to other machines.
        say: prints one line of progress.

    Raises:
        InputError: the folder is no exported model, the port is in use, or other machines would
            be answered without keys.
    """
    check_model_folder(config.model)
    Keys.load(config.api_keys).check_address(host)
    check_port(host, port)
    from ray import serve

    for name in ("ray.serve", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with progress(say, "starting the endpoint"), ThreadPoolExecutor(1) as beside:
        started = beside.submit(
            serve.start, http_options={"host": host, "port": port}, logging_config=QUIET
        )
        application = build_application(config)  # mostly imports, as the proxy's start is
        started.result()
        serve.run(application, name=APPLICATION, route_prefix="/", logging_config=QUIET)
        wait_until_ready(f"http://{host}:{port}/healthz")
    return f"http://{host}:{port}/v1"


def wait_until_ready(url: str, seconds: float = 60) -> None:
    """Return once the URL answers.

    Raises:
        TimeoutError: it does not within `seconds`.
    """
    end = time.time() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (URLError, OSError) as error:
            if time.time() > end:
                raise TimeoutError(f"{url} does not answer after {seconds:.0f} s") from error
            time.sleep(0.2)


def stop() -> None:
    """Take the endpoint down and free its port; the cluster stays."""
    from ray import serve

    serve.shutdown()


def image_url(image: bytes) -> str:
    """Encoded image bytes, or a DICOM file, as a data URL.

    Raises:
        InputError: the bytes are no PNG, JPEG or other image that can be decoded.
    """
    from PIL import Image, UnidentifiedImageError

    if image[128:132] == b"DICM":
        return f"data:application/dicom;base64,{base64.b64encode(image).decode()}"
    try:
        with Image.open(io.BytesIO(image)) as opened:
            kind = Image.MIME[opened.format or "PNG"]
    except UnidentifiedImageError:
        raise InputError("the image cannot be read: give a PNG, JPEG or DICOM file") from None
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"


def ask_stream(
    base_url: str,
    image: bytes | None,
    question: str,
    *,
    model: str = APPLICATION,
    max_tokens: int = 64,
) -> Iterator[str]:
    """Ask one question, image first as in training; yields the answer as it is generated.

    The API key is that of the environment, `OPENAI_API_KEY`.
    """
    from openai import OpenAI

    content: list[dict[str, object]] = [{"type": "text", "text": question}]
    if image is not None:
        content.insert(0, {"type": "image_url", "image_url": {"url": image_url(image)}})
    key = os.environ.get("OPENAI_API_KEY", "none")
    client = OpenAI(base_url=base_url, api_key=key, max_retries=0)
    stream: Any = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": content}],  # type: ignore[list-item,misc]
        temperature=0,
        max_tokens=max_tokens,
        stream=True,
    )
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


def ask(base_url: str, image: bytes | None, question: str, **settings: int) -> str:
    """The whole answer to one question; see `ask_stream`."""
    return "".join(ask_stream(base_url, image, question, **settings)).strip()  # type: ignore[arg-type]
