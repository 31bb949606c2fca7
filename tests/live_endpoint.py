"""One endpoint for all tests that ask one: two models, an API key, every limit as in a preset."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from openai import OpenAI

from doctor_sun.serving import endpoint
from doctor_sun.serving.application import serve_config
from tests.processes import descendants
from tests.tiny_models import build_llava

KEY = "ds-of-the-tests-0123456789abcdef"
RULE = "no dose is named here"
PROMPT = "Answer briefly."


@dataclass(frozen=True)
class Live:
    """A running endpoint."""

    url: str
    """Of the OpenAI API."""
    folder: Path
    """Where its models, keys and audit log are."""

    @property
    def root(self) -> str:
        """Of the chat page and the health checks."""
        return self.url.removesuffix("/v1")

    def client(self, **settings: Any) -> OpenAI:
        """The official client, which does not try again."""
        return OpenAI(base_url=self.url, api_key=KEY, max_retries=0, timeout=120, **settings)

    def processes(self) -> list[psutil.Process]:
        """HAProxy, the replicas, their engines and decoders."""
        return descendants("haproxy", "ServeReplica", "EngineCore", "decoder")

    def metrics(self) -> str:
        """What Prometheus gets of this node."""
        import ray

        [node] = ray.nodes()
        return httpx.get(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics", timeout=30).text

    def texts_written(self) -> Iterator[tuple[Path, bytes]]:
        """Every log, trace and temporary file of the endpoint."""
        import ray

        session = Path(ray._private.worker._global_node.get_session_dir_path())
        for folder in (session / "logs", session.parent / "haproxy", self.folder / "audit"):
            for file in folder.rglob("*"):
                if file.is_file() and not file.is_socket():
                    yield file, file.read_bytes()


@contextmanager
def live_endpoint(folder: Path, port: int, **changes: Any) -> Iterator[Live]:
    """Start it, with other settings where they are given; stop it."""
    keys = folder / "keys.yaml"
    keys.write_text(
        f"ward: {{key: {KEY}, requests_per_minute: null, tokens_per_minute: null}}\n"
        f"slow: {{key: {KEY}-slow, requests_per_minute: 2}}\n"
    )
    keys.chmod(0o600)
    os.environ["DOCTOR_SUN_MAX_BODY_MIB"] = "64"
    main = build_llava(folder / "main")
    config = serve_config(
        {
            "model": main,
            "dtype": "float32",
            "max_model_len": 256,
            "max_num_seqs": 16,
            "images_per_prompt": 2,
            "engine_metrics": True,
            "variants": {"doctor-sun-b": {}},
            "api_keys": {"keys_file": str(keys)},
            "body": {"body_seconds": 4},
            "audit": {"folder": str(folder / "audit")},
            "safety": {
                "system_prompt": PROMPT,
                "rules": [{"name": "dose", "pattern": r"\bdose\b|剂量", "answer": RULE}],
            },
            **changes,
        }
    )
    url = endpoint.start(config, port=port)
    try:
        yield Live(url, folder)
    finally:
        endpoint.stop()
