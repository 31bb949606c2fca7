"""The endpoint, for Ray Serve's command line, from the repository's root.

source serve/environment
serve run serve.app:build_app model=HF_DIR [name=doctor-sun max_replicas=2 dtype=bfloat16 ...]
serve deploy serve/config.yaml

Every key is a field of `ServeConfig`. The OpenAI API is under /v1, the chat page at /.
"""

import os
import sys
from typing import Any

import ray
from ray.serve import Application

from doctor_sun.errors import one_line_errors
from doctor_sun.serving.application import build_application, serve_config
from doctor_sun.serving.endpoint import check_port

PORT = 8000  # where `serve run` listens
WITHOUT_ENVIRONMENT = (
    "hint: `source serve/environment` before Ray starts puts HAProxy in front, and counts a body "
    "before it is taken in"
)


def build_app(arguments: dict[str, Any]) -> Application:
    """The application; wrong arguments end the command with one line and status 2."""
    if ray.is_initialized():  # inside a cluster (`serve deploy`): the error is its status message
        return build_application(serve_config(arguments))
    if "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH" not in os.environ:
        print(WITHOUT_ENVIRONMENT, file=sys.stderr)
    with one_line_errors():
        config = serve_config(arguments)
        check_port("127.0.0.1", PORT)
        return build_application(config)
