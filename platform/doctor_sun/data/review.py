"""The review of translations by a person: a local page over `review/queue.jsonl`.

    python -m doctor_sun.data.review runs/translate --reviewer "J. Doe"

Accept, edit or reject. Every decision is appended to `review/decisions.jsonl` with reviewer and
time, and applied by the next run of the job. Queue and decisions hold text of the samples on
purpose; only their owner may read them. The page listens on 127.0.0.1, wants the token of its
address with every request, and loads nothing from elsewhere.
"""

import argparse
import getpass
import json
import os
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from upath import UPath

from doctor_sun.data.review_page import PAGE
from doctor_sun.errors import InputError, one_line_errors
from doctor_sun.records import IMAGE_PLACEHOLDER

QUEUE = "review/queue.jsonl"
DECISIONS = "review/decisions.jsonl"
OWNER_ONLY = 0o600


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a person decided on one translation."""

    id: str
    """Of the source row."""
    translation: str
    """Hash of the translation that was shown: the decision is about no other."""
    decision: Literal["accept", "edit", "reject"]
    reviewer: str
    time: str
    """UTC, ISO 8601."""
    turns: Sequence[Mapping[str, str]] | None = None
    """What the reviewer wrote, with `edit`."""


def write_private(path: UPath, text: str) -> None:
    """Write a file that only its owner may read, where the file system knows owners."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.protocol in ("", "file", "local"):
        descriptor = os.open(path.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
        os.fchmod(descriptor, OWNER_ONLY)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    else:
        path.write_text(text, encoding="utf-8")


def _lines(path: UPath) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file, an empty list when there is none.

    Raises:
        InputError: a line is no JSON object.
    """
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            raise InputError(f"{path}, line {number}: not a JSON object") from None
    return found


def read_decisions(folder: UPath) -> dict[str, Decision]:
    """The last decision on each row of a run's folder, by row id.

    Raises:
        InputError: a line is no decision.
    """
    path = folder / DECISIONS
    decisions: dict[str, Decision] = {}
    for number, line in enumerate(_lines(path), 1):
        try:
            decision = Decision(**line)
        except TypeError:
            raise InputError(f"{path}, line {number}: not a decision") from None
        if decision.decision not in ("accept", "edit", "reject"):
            raise InputError(f"{path}, line {number}: decision is not accept, edit or reject")
        decisions[decision.id] = decision
    return decisions


class Queue:
    """The rows that wait, and what was decided on them."""

    def __init__(self, folder: UPath, reviewer: str) -> None:
        """Open the review of a run's folder.

        Raises:
            InputError: the folder has no queue.
        """
        if not (folder / QUEUE).exists():
            raise InputError(f"{folder} has no {QUEUE}: jobs/translate.py writes it")
        self.folder, self.reviewer = folder, reviewer
        self.items = _lines(folder / QUEUE)
        self.decisions = read_decisions(folder)
        self.lock = threading.Lock()

    def item(self, number: int) -> dict[str, Any]:
        """One row with the last decision on this translation of it."""
        item = self.items[number]
        decision = self.decisions.get(item["id"])
        shown = decision is not None and decision.translation == item["translation"]
        return item | {"decided": asdict(decision) if decision and shown else None}

    def state(self) -> dict[str, Any]:
        """How many rows there are, and the numbers of those that are open."""
        numbers = range(len(self.items))
        still_open = [number for number in numbers if not self.item(number)["decided"]]
        return {"count": len(self.items), "open": still_open, "reviewer": self.reviewer}

    def decide(self, number: int, decision: str, texts: Sequence[str] | None) -> None:
        """Append a decision.

        Args:
            number: of the row in the queue.
            decision: accept, edit or reject.
            texts: with `edit`, the text of each turn.

        Raises:
            ValueError: not a decision, or an edit that lost a turn or an image mark.
        """
        item = self.items[number]
        if decision not in ("accept", "edit", "reject"):
            raise ValueError("the decision is not accept, edit or reject")
        turns = _edited(item["turns"], texts) if decision == "edit" else None
        made = Decision(
            id=item["id"],
            translation=item["translation"],
            decision=decision,  # type: ignore[arg-type]
            reviewer=self.reviewer,
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            turns=turns,
        )
        with self.lock:
            self._append(json.dumps(asdict(made), ensure_ascii=False) + "\n")
            self.decisions[made.id] = made

    def _append(self, line: str) -> None:
        """Add a line; it is on the disk before the page says so."""
        path = self.folder / DECISIONS
        if path.protocol not in ("", "file", "local"):  # object stores do not append
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            path.write_text(before + line, encoding="utf-8")
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(path.path, flags, OWNER_ONLY)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _edited(
    turns: Sequence[Mapping[str, str]], texts: Sequence[str] | None
) -> list[dict[str, str]]:
    """The turns with a reviewer's texts."""
    if not texts or len(texts) != len(turns) or not all(text.strip() for text in texts):
        raise ValueError("an edit needs a text for every turn")
    for turn, text in zip(turns, texts, strict=True):
        if turn["text"].count(IMAGE_PLACEHOLDER) != text.count(IMAGE_PLACEHOLDER):
            raise ValueError(f"the edit must keep every {IMAGE_PLACEHOLDER}")
    return [{"role": turn["role"], "text": text} for turn, text in zip(turns, texts, strict=True)]


def build_app(queue: Queue, token: str) -> Any:
    """The page as a Starlette application."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route

    def allowed(given: str | None) -> bool:
        return given is not None and secrets.compare_digest(given.encode(), token.encode())

    def page(request: Request) -> Response:
        if not allowed(request.query_params.get("token")):
            return Response("the address needs its token", status_code=403)
        nonce = secrets.token_urlsafe(16)
        return HTMLResponse(PAGE.replace("{{nonce}}", nonce), headers=_headers(nonce))

    # A page elsewhere can neither read the token nor set this header.
    def api(do: Any) -> Any:
        async def answer(request: Request) -> Response:
            if not allowed(request.headers.get("x-token")):
                return JSONResponse({"error": "wrong token"}, status_code=403)
            try:
                body = await request.json() if request.method == "POST" else {}
                return JSONResponse(do(request, body), headers={"Cache-Control": "no-store"})
            except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
                words = str(error) if type(error) is ValueError else "malformed request"
                return JSONResponse({"error": words}, status_code=400)

        return answer

    def one(request: Request, _: Any) -> Any:
        return queue.item(request.path_params["number"])

    def decide(request: Request, body: Any) -> Any:
        queue.decide(request.path_params["number"], body["decision"], body.get("texts"))
        return queue.state()

    return Starlette(
        routes=[
            Route("/", page),
            Route("/state", api(lambda request, body: queue.state())),
            Route("/item/{number:int}", api(one)),
            Route("/item/{number:int}", api(decide), methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )


def _headers(nonce: str) -> dict[str, str]:
    """Nothing from elsewhere, no frames, no referrer with the token."""
    own = f"'nonce-{nonce}'"
    policy = (
        f"default-src 'none'; script-src {own}; style-src {own}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }


def main() -> None:
    """Serve the page until interrupted."""
    import uvicorn

    parser = argparse.ArgumentParser(description="Review translations on a local page.")
    parser.add_argument("folder", help="output of jobs/translate.py")
    parser.add_argument("--reviewer", default=getpass.getuser(), help="name in the decisions")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    arguments = parser.parse_args()
    with one_line_errors():
        queue = Queue(UPath(arguments.folder), arguments.reviewer)
        token = secrets.token_urlsafe(24)
        config = uvicorn.Config(
            build_app(queue, token), host="127.0.0.1", port=arguments.port, access_log=False,
            log_level="warning",
        )  # fmt: skip
        listening = config.bind_socket()
        listening.listen()  # whoever opens the page at once waits instead of being refused
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/?token={token}"
        print(f"{len(queue.items)} translations: {address}", flush=True)
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
