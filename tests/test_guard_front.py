"""The doors in front of the endpoint: sizes, request ids, keys, origins, what is written down."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.testclient import TestClient

from doctor_sun.serving.audit import Exchange
from doctor_sun.serving.guard.door import Door
from doctor_sun.serving.guard.front import Front, FrontConfig
from doctor_sun.serving.guard.keys import Keys, KeysConfig
from doctor_sun.serving.guard.refusal import Refusal
from doctor_sun.serving.models import Models
from doctor_sun.serving.safety import RefusalRule, Safety, SafetyConfig

KEY = "ds-a-key-of-the-tests-0001"
MARK = "QUOKKA-4711"
UNDER_WAY: list[int] = []


async def echo(request: Request) -> Response:
    """The size of the body, and the request id that came in."""
    size = len(await request.body())
    return PlainTextResponse(f"{size} {request.headers.get('x-request-id', '')}")


async def broken(_: Request) -> Response:
    """A fault whose text holds what nobody should read."""
    raise ValueError(MARK)


async def refusing(_: Request) -> Response:
    """A refusal with a time."""
    raise Refusal(503, "overloaded", "full", retry_after=0.2)


ROUTES = [
    Route("/echo", echo, methods=["POST", "GET"]),
    Route("/broken", broken),
    Route("/refusing", refusing),
    Route("/healthz", echo),
]


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[Exchange]:
    """The records of requests."""
    monkeypatch.setenv("DOCTOR_SUN_API_KEYS", f"ward={KEY}")
    return []


def client(ended: list[Exchange], config: FrontConfig | None = None, most: int = 9) -> TestClient:
    """A client of the routes behind a front with a key."""
    front = Front(
        Router(ROUTES),
        config=config or FrontConfig(),
        max_in_flight=most,
        keys=Keys.load(KeysConfig()),
        routes=frozenset(route.path for route in ROUTES),
        headers={"x-disclaimer": "not a device"},
        under_way=UNDER_WAY.append,
        ended=ended.append,
    )
    return TestClient(front, headers={"Authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize("sent", [0, 64, 65, 10_000])
def test_a_body_of_any_form_is_ended_at_its_limit(sent: int) -> None:
    asking = TestClient(Door(Router(ROUTES), most=64))
    for body in (b"x" * sent, iter([b"x" * 16] * (sent // 16) + [b"x" * (sent % 16)])):
        answer = asking.post("/echo", content=body)
        if sent <= 64:
            assert answer.text.split()[0] == str(sent)
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_bytes")


def test_only_a_uuid_passes_as_a_request_id() -> None:
    asking = TestClient(Door(Router(ROUTES), most=64))
    for given in ("0b5a9d0c-6f5f-4b4e-9f5e-0123456789ab", "0b5a9d0c6f5f4b4e9f5e0123456789ab"):
        assert asking.get("/echo", headers={"x-request-id": given}).text == f"0 {given}"
    for given in (MARK, "12345678", "Zhang-San", ""):
        assert asking.get("/echo", headers={"x-request-id": given}).text == "0 "


def test_every_route_but_the_health_check_needs_a_key(ended: list[Exchange]) -> None:
    asking = client(ended)
    for path in ("/echo", "/broken", "/nothing", "/"):
        answer = asking.get(path, headers={"Authorization": "Bearer wrong"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert asking.get("/healthz", headers={"Authorization": ""}).status_code == 200
    assert asking.get("/echo").headers["x-disclaimer"] == "not a device"


def test_errors_have_openais_form_and_faults_say_nothing(
    ended: list[Exchange], caplog: pytest.LogCaptureFixture
) -> None:
    asking = client(ended)
    for method, path, status, code in (
        ("GET", "/broken", 500, "internal"),
        ("GET", "/refusing", 503, "overloaded"),
        ("GET", f"/{MARK}", 404, "not_found"),
        ("DELETE", "/echo", 405, "method"),
    ):
        answer = asking.request(method, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert MARK not in answer.text
    assert asking.get("/refusing").headers["retry-after"] == "1"
    assert MARK not in caplog.text
    assert "ValueError" in caplog.text
    assert [one.route for one in ended][:3] == ["/broken", "/refusing", "other"]
    assert {one.caller for one in ended} == {"ward"}
    assert MARK not in repr(ended)


def test_pages_of_other_origins_are_refused_unless_they_are_listed(ended: list[Exchange]) -> None:
    listed = FrontConfig(allowed_origins=("https://ward.example",))
    asking = client(ended, listed)
    for origin, status in (
        ("https://evil.example", 403),
        ("null", 403),
        ("http://testserver", 200),
        ("https://ward.example", 200),
    ):
        answer = asking.post("/echo", headers={"Origin": origin})
        assert answer.status_code == status, origin
        allowed = answer.headers.get("access-control-allow-origin")
        assert allowed == (origin if origin == "https://ward.example" else None)
    asked = asking.options("/echo", headers={"Origin": "https://ward.example", "Authorization": ""})
    assert asked.status_code == 204
    assert "authorization" in asked.headers["access-control-allow-headers"]
    refused = client(ended).options("/echo", headers={"Origin": "https://ward.example"})
    assert refused.status_code == 403


def test_without_keys_only_this_machine_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCTOR_SUN_API_KEYS", raising=False)
    asking = TestClient(client([]).app, client=("127.0.0.1", 50000))
    for host, status in (
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("[::1]:8000", 200),
        ("doctor.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("", 403),
    ):
        assert asking.get("/echo", headers={"Host": host}).status_code == status, host
    far = TestClient(client([]).app, client=("203.0.113.7", 50000))
    assert far.get("/echo", headers={"Host": "localhost"}).status_code == 403


def test_a_full_endpoint_says_when_to_come_again(ended: list[Exchange]) -> None:
    answers = [client(ended, most=most).post("/echo") for most in (1, 0)]
    assert [answer.status_code for answer in answers] == [200, 503]
    assert answers[1].headers["retry-after"] == "1"
    assert client(ended, most=0).get("/echo").status_code == 200  # what costs nothing is answered


def test_a_client_that_leaves_is_written_down_as_such(ended: list[Exchange]) -> None:
    front = client(ended).app

    async def leave() -> None:
        async def receive() -> Any:
            await asyncio.sleep(10)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/echo",
            "query_string": b"",
            "headers": [(b"authorization", f"Bearer {KEY}".encode()), (b"host", b"h")],
        }
        task = asyncio.create_task(front(scope, receive, receive))  # type: ignore[arg-type]
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(leave())
    assert [one.status for one in ended] == [499]
    assert UNDER_WAY[-2:] == [1, 0]


def test_a_conversation_stays_with_its_model_and_shares_are_kept() -> None:
    models = Models("main", ["next", "after"], {"next": 0.2, "after": 0.1})
    chosen = [models.chosen(None, f"question {i}") for i in range(4000)]
    assert chosen == [models.chosen("main", f"question {i}") for i in range(4000)]
    for name, share in (("main", 0.7), ("next", 0.2), ("after", 0.1)):
        assert chosen.count(name) / 4000 == pytest.approx(share, abs=0.03)
    assert models.chosen("after", "question 1") == "after"
    with pytest.raises(Refusal, match="no such model") as refused:
        models.chosen(MARK, "x")
    assert MARK not in str(refused.value)


def test_rules_match_in_both_languages_and_change_the_version() -> None:
    rule = RefusalRule(name="dose", pattern=r"\bdose\b|剂量", answer="no")
    safety = Safety(SafetyConfig(rules=[rule]))
    assert safety.refusal(["hello", "Which DOSE?"]) == rule
    assert safety.refusal(["阿司匹林的剂量"]) == rule
    assert safety.refusal(["overdosed"]) is None
    assert safety.prompt_version != Safety(SafetyConfig()).prompt_version
