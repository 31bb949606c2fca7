"""The endpoint answers the official `openai` client in every form that it documents."""

import asyncio
import base64
import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from doctor_sun.errors import InputError
from doctor_sun.serving import endpoint
from doctor_sun.serving.application import ServeConfig, serve_config
from tests.live_endpoint import KEY, PROMPT, RULE, Live
from tests.small_data import picture

ROOT = Path(__file__).parents[1]
TEXT = {"type": "text", "text": "病变在哪一侧？ Which side?"}
HEADERS = {"Authorization": f"Bearer {KEY}"}


def part(seed: int = 1, size: int = 32) -> dict[str, Any]:
    """A picture as a part of a message."""
    return {"type": "image_url", "image_url": {"url": endpoint.image_url(picture(seed, size))}}


def question(*parts: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """A greedy request for eight tokens."""
    asked = {"model": "doctor-sun", "messages": [{"role": "user", "content": list(parts)}]}
    return {**asked, "temperature": 0, "max_tokens": 8, **settings}


def test_arguments_are_typed_and_checked() -> None:
    config = serve_config({"model": "m", "max_replicas": "3", "kv_cache_gib": None})
    assert (config.max_replicas, config.kv_cache_gib, config.name) == (3, None, "doctor-sun")
    nested = serve_config({"model": "m", "safety": {"rules": [{**_rule(), "pattern": "x+"}]}})
    assert nested.safety.rules[0].pattern == "x+"
    assert serve_config({"model": "m", "safety.system_prompt": "briefly"}).safety.system_prompt
    with pytest.raises(InputError, match="nearest known key is 'max_replicas'"):
        serve_config({"model": "m", "max_replica": 3})
    with pytest.raises(InputError, match="max_replicas"):
        serve_config({"model": "m", "max_replicas": "many"})
    with pytest.raises(InputError, match="model"):
        serve_config({})
    with pytest.raises(InputError, match="no regular expression"):
        serve_config({"model": "m", "safety": {"rules": [{**_rule(), "pattern": "("}]}})


def _rule() -> dict[str, str]:
    return {"name": "r", "answer": "no"}


def test_variants_take_what_they_do_not_say_from_the_main_model() -> None:
    config = serve_config(
        {
            "model": "m",
            "max_model_len": 77,
            "variants": {"b": {"model": "n"}},
            "canary": {"b": 0.5},
        }
    )
    other = config.variant("b")
    assert (other.model, other.name, other.max_model_len) == ("n", "b", 77)
    with pytest.raises(InputError, match=r"canary\.c"):
        serve_config({"model": "m", "canary": {"c": 0.5}})
    variants = {"b": {"model": "n"}, "c": {"model": "n"}}
    with pytest.raises(InputError, match="more than all"):
        serve_config({"model": "m", "variants": variants, "canary": {"b": 0.6, "c": 0.6}})


@pytest.mark.parametrize("preset", sorted((ROOT / "serve").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_preset_holds_known_keys(preset: Path) -> None:
    import yaml
    from ray.serve.schema import ServeDeploySchema

    told = yaml.safe_load(preset.read_text())
    ServeDeploySchema(**told)
    for application in told["applications"]:
        assert serve_config(application["args"]).name == "doctor-sun"


def test_a_port_in_use_and_a_missing_model_are_one_line(unused_port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", unused_port))
        taken.listen()
        with pytest.raises(InputError, match=f"port {unused_port} is in use"):
            endpoint.check_port("127.0.0.1", unused_port)
    endpoint.check_port("127.0.0.1", unused_port)
    with pytest.raises(InputError, match="does not exist"):
        endpoint.start(ServeConfig(model="/nowhere"), port=unused_port)


@pytest.mark.slow
def test_the_command_line_refuses_in_one_line() -> None:
    command = [str(Path(sys.executable).parent / "serve"), "run", "serve.app:build_app"]
    ended = subprocess.run(
        [*command, "model=/nowhere"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "error: model folder /nowhere does not exist" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_asking_without_an_endpoint_is_one_line(unused_port: int) -> None:
    command = [sys.executable, "serve/ask.py", "--question", "?"]
    command += ["--url", f"http://127.0.0.1:{unused_port}/v1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: no endpoint answers")


def test_an_unreadable_image_is_refused_before_it_is_sent() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        endpoint.image_url(b"not an image")


@pytest.mark.slow
def test_raw_answers_are_what_the_clients_strict_models_say(live: Live) -> None:
    from openai.types import Completion, Model
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    def post(route: str, body: dict[str, Any]) -> str:
        answer = httpx.post(f"{live.url}/{route}", json=body, headers=HEADERS, timeout=120)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-disclaimer"]
        return answer.text

    chosen = {"logprobs": True, "top_logprobs": 2, "n": 2, "temperature": 0.7}
    whole = ChatCompletion.model_validate_json(
        post("chat/completions", question(part(), TEXT, **chosen)), strict=True
    )
    assert len(whole.choices) == 2
    assert whole.usage is not None
    assert whole.usage.completion_tokens <= 16
    said = whole.choices[0].logprobs
    assert said is not None
    assert said.content is not None
    assert all(len(token.top_logprobs) == 2 for token in said.content)

    told = post("chat/completions", question(TEXT, stream=True, **chosen))
    events = re.findall(r"^data: (.*)$", told, re.MULTILINE)
    assert events[-1] == "[DONE]"
    for event in events[:-1]:
        chunk = ChatCompletionChunk.model_validate_json(event, strict=True)
        assert chunk.usage is None  # it was not asked for
    body = {"model": "doctor-sun", "prompt": ["a", "b"], "max_tokens": 4, "logprobs": 1}
    completion = Completion.model_validate_json(post("completions", body), strict=True)
    assert len(completion.choices) == 2
    models = httpx.get(f"{live.url}/models", headers=HEADERS).json()["data"]
    names = [Model.model_validate(model, strict=True).id for model in models]
    assert names == ["doctor-sun", "doctor-sun-b"]


@pytest.mark.slow
def test_streamed_text_is_the_unstreamed_text(live: Live) -> None:
    client = live.client()
    for parts in ((TEXT,), (part(1), TEXT), (part(1), part(2), TEXT)):
        asked = question(*parts)
        whole = client.chat.completions.create(**asked)
        stream = client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(pieces) == whole.choices[0].message.content
        assert chunks[-1].usage == whole.usage
        reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
        assert [reason for reason in reasons if reason] == [whole.choices[0].finish_reason]
    text = client.completions.create(model="doctor-sun", prompt="left", max_tokens=6, temperature=0)
    stream = client.completions.create(
        model="doctor-sun", prompt="left", max_tokens=6, temperature=0, stream=True
    )
    assert "".join(c.choices[0].text for c in stream if c.choices) == text.choices[0].text


@pytest.mark.slow
def test_the_picture_decides_the_answer_and_both_models_see_it(live: Live) -> None:
    client = live.client()

    def answer(seed: int, model: str) -> str:
        asked = question(part(seed), TEXT, model=model, logprobs=True)
        choice = client.chat.completions.create(**asked).choices[0]
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        return f"{choice.message.content} {choice.logprobs.content[0].logprob:.4f}"

    assert answer(1, "doctor-sun") != answer(2, "doctor-sun")
    assert answer(1, "doctor-sun-b") == answer(1, "doctor-sun")  # the same weights


@pytest.mark.slow
def test_seed_stop_schema_and_several_turns(live: Live) -> None:
    client = live.client()

    def said(**settings: Any) -> str:
        answer = client.chat.completions.create(**question(TEXT, **settings))
        return answer.choices[0].message.content or ""

    warm = {"temperature": 1.5, "max_tokens": 24}
    assert said(seed=7, **warm) == said(seed=7, **warm) != said(seed=8, **warm)
    whole = said(max_tokens=24)
    middle = next(letter for letter in whole[len(whole) // 2 :] if letter.isprintable())
    assert said(max_tokens=24, stop=[middle]) == whole[: whole.index(middle)]
    schema = {"type": "string", "enum": ["left", "right"]}
    form = {"type": "json_schema", "json_schema": {"name": "side", "schema": schema}}
    assert json.loads(said(response_format=form, max_tokens=24)) in ("left", "right")
    turns: list[Any] = [
        {"role": "system", "content": "用中文回答。"},
        {"role": "user", "content": [part(), TEXT]},
        {"role": "assistant", "content": "左侧"},
        {"role": "user", "content": "确定吗？"},
    ]
    answer = client.chat.completions.create(model="doctor-sun", messages=turns, max_tokens=4)
    again = client.chat.completions.create(
        model="doctor-sun",
        messages=[*turns, answer.choices[0].message.model_dump(), turns[-1]],
        max_tokens=4,
    )
    assert again.usage is not None
    assert answer.usage is not None
    assert again.usage.prompt_tokens > answer.usage.prompt_tokens


@pytest.mark.slow
def test_many_ask_at_a_time(live: Live) -> None:
    from openai import AsyncOpenAI

    async def answers() -> list[str]:
        async with AsyncOpenAI(base_url=live.url, api_key=KEY, max_retries=0) as client:
            asked = [client.chat.completions.create(**question(part(i), TEXT)) for i in range(24)]
            return [a.choices[0].message.content or "" for a in await asyncio.gather(*asked)]

    client = live.client()
    alone = client.chat.completions.create(**question(part(3), TEXT)).choices[0].message.content
    assert asyncio.run(answers())[3] == alone


@pytest.mark.slow
def test_our_system_prompt_stands_before_the_clients(live: Live) -> None:
    client = live.client()

    def tokens(*messages: dict[str, Any]) -> int:
        answer = client.chat.completions.create(
            model="doctor-sun", messages=[*messages], max_tokens=1
        )
        assert answer.usage is not None
        return answer.usage.prompt_tokens

    user = {"role": "user", "content": "left?"}
    alone = tokens(user)
    assert tokens({"role": "system", "content": "zone"}, user) > alone
    spelled = len(f"<|start_header_id|>system<|end_header_id|>\n\n{PROMPT}<|eot_id|>")
    assert alone > 12, spelled  # it is there though the client sent none


@pytest.mark.slow
def test_a_rule_answers_in_place_of_the_model(live: Live) -> None:
    client = live.client()

    def ruled() -> int:
        return sum(line["code"] == "rule:dose" for line in _audit(live))

    before = ruled()
    for text in ("Which DOSE of aspirin?", "阿司匹林的剂量？"):
        asked = question({"type": "text", "text": text})
        choice = client.chat.completions.create(**asked).choices[0]
        assert (choice.message.content, choice.finish_reason) == (RULE, "content_filter")
        stream = client.chat.completions.create(**asked, stream=True)
        assert "".join(c.choices[0].delta.content or "" for c in stream) == RULE
    eventually(lambda: ruled() == before + 4)


@pytest.mark.slow
def test_dicom_is_shown_in_the_window_that_was_asked_for(live: Live) -> None:
    from pydicom.data import get_testdata_file

    encoded = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    told = base64.b64encode(encoded).decode()
    url = {"url": f"data:application/dicom;base64,{told}"}
    bone = {"window": {"center": 300, "width": 1500}}
    texts = []
    for view in ({}, {"dicom": {"frame": 0}}, {"dicom": bone}):
        asked = question({"type": "image_url", "image_url": url, **view}, TEXT, logprobs=True)
        choice = live.client().chat.completions.create(**asked).choices[0]
        assert choice.logprobs is not None
        assert choice.logprobs.content is not None
        texts.append(f"{choice.message.content}{choice.logprobs.content[0].logprob:.4f}")
    assert texts[0] == texts[1] != texts[2]
    shown = httpx.post(
        f"{live.url}/dicom/preview", json={"dicom": told, **bone}, headers=HEADERS
    ).json()
    assert shown["window"] == {"center": 300.0, "width": 1500.0}
    assert (shown["width"], shown["height"], shown["frames"]) == (128, 128, 1)
    assert shown["image"].startswith("data:image/png;base64,")


@pytest.mark.slow
def test_the_client_script_streams_an_answer(live: Live, tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(picture(1))
    command = [sys.executable, "serve/ask.py", "--question", "Which side?", "--image", str(file)]
    ended = subprocess.run(
        [*command, "--url", live.url, "--max-tokens", "8"],
        cwd=ROOT,
        env={"OPENAI_API_KEY": KEY, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()


@pytest.mark.slow
def test_a_client_that_leaves_stops_its_answer(live: Live) -> None:
    asked = question(TEXT, max_tokens=200, stream=True, ignore_eos=True)
    with httpx.stream(
        "POST", f"{live.url}/chat/completions", json=asked, headers=HEADERS
    ) as answer:
        next(answer.iter_lines())
        request_id = answer.headers["x-request-id"]
    eventually(lambda: any(line["request_id"] == request_id for line in _audit(live)))
    [line] = [line for line in _audit(live) if line["request_id"] == request_id]
    assert line["completion_tokens"] == 0  # its usage never came


@pytest.mark.slow
def test_health_needs_no_key_and_the_rest_does(live: Live) -> None:
    assert httpx.get(f"{live.root}/healthz").json() == {"status": "ok"}
    assert httpx.get(f"{live.root}/readyz").status_code == 200
    for path in ("/", "/page/page.js", "/v1/models", "/page/settings.json", "/nothing"):
        refused = httpx.get(f"{live.root}{path}")
        assert refused.status_code == 401, path
        assert refused.headers["www-authenticate"].startswith("Basic")
        basic = httpx.get(f"{live.root}{path}", auth=("anybody", KEY))
        assert basic.status_code == (404 if path == "/nothing" else 200), path


@pytest.mark.slow
def test_the_audit_log_has_hashes_and_sizes_and_the_same_picture_the_same_hash(live: Live) -> None:
    client = live.client()
    size = len(picture(5, 41))
    for _ in range(2):
        client.chat.completions.create(**question(part(5, 41), TEXT))

    def lines() -> list[dict[str, Any]]:
        return [line for line in _audit(live) if line["picture_bytes"] == size]

    eventually(lambda: len(lines()) == 2)
    one, two = lines()
    assert one["pictures"] == two["pictures"] != []
    assert one["texts"] == two["texts"]
    assert (one["caller"], one["status"], one["route"]) == ("ward", 200, "/v1/chat/completions")
    assert one["completion_tokens"] > 0


def eventually(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for what is true a moment after the answer has come."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def _audit(live: Live) -> list[dict[str, Any]]:
    [file] = (live.folder / "audit").iterdir()
    return [json.loads(line) for line in file.read_text().splitlines()]
