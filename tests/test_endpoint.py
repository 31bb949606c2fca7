"""The endpoint answers the real `openai` client, refuses bad input, and logs nothing of either."""

import base64
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from doctor_sun.errors import InputError
from doctor_sun.serving import endpoint
from doctor_sun.serving.application import ServeConfig, serve_config
from tests.small_data import picture
from tests.tiny_models import build_llava

ROOT = Path(__file__).parents[1]
PLANTED = "QUOKKA-4711"  # in every request; must be in no log


def test_arguments_are_typed_and_checked(tmp_path: Path) -> None:
    config = serve_config({"model": "m", "max_replicas": "3", "kv_cache_gib": None})
    assert (config.max_replicas, config.kv_cache_gib, config.name) == (3, None, "doctor-sun")
    with pytest.raises(InputError, match="nearest known key is 'max_replicas'"):
        serve_config({"model": "m", "max_replica": 3})
    with pytest.raises(InputError, match="max_replicas"):
        serve_config({"model": "m", "max_replicas": "many"})
    with pytest.raises(InputError, match="model"):
        serve_config({})


def test_the_yaml_preset_holds_known_keys() -> None:
    import yaml

    preset = yaml.safe_load((ROOT / "serve" / "config.yaml").read_text())
    assert serve_config(preset["applications"][0]["args"]).name == "doctor-sun"


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
def test_the_openai_client_is_answered(tmp_path: Path, ray_cluster: None, unused_port: int) -> None:
    import ray
    from openai import BadRequestError, NotFoundError, OpenAI

    config = ServeConfig(
        model=build_llava(tmp_path / "llava"),
        dtype="float32",
        max_model_len=128,
        images_per_prompt=2,
    )
    url = endpoint.start(config, port=unused_port)
    try:
        client = OpenAI(base_url=url, api_key="none", max_retries=0)
        assert [model.id for model in client.models.list()] == ["doctor-sun"]

        part = {"type": "image_url", "image_url": {"url": endpoint.image_url(picture(1))}}
        text = {"type": "text", "text": f"{PLANTED} 病变在哪一侧？"}

        def chat(*parts: dict[str, object], model: str = "doctor-sun") -> str:
            answer = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": list(parts)}],  # type: ignore[list-item,misc]
                temperature=0,
                max_tokens=8,
            )
            assert answer.usage is not None
            assert answer.usage.completion_tokens <= 8
            return (answer.choices[0].message.content or "").strip()

        whole = chat(part, text)
        pieces = list(endpoint.ask_stream(url, picture(1), str(text["text"]), max_tokens=8))
        assert "".join(pieces).strip() == whole
        assert endpoint.ask(url, picture(1), str(text["text"]), max_tokens=8) == whole
        assert chat(part, part, text)

        broken = base64.b64encode(f"{PLANTED} is no image".encode()).decode()
        bad = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{broken}"}}
        for parts in (
            [bad, text],
            [part, part, part, text],
            [{"type": "text", "text": PLANTED * 99}],
        ):
            with pytest.raises(BadRequestError):
                chat(*parts)
        with pytest.raises(NotFoundError):
            chat(text, model="another")
        assert chat(part, text) == whole  # still alive
    finally:
        endpoint.stop()
    logs = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"
    for folder, _, files in os.walk(logs):
        for name in files:
            content = (Path(folder) / name).read_bytes()
            assert PLANTED.encode() not in content, name
