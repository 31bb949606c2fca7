"""The Ray cluster a job runs on: the one it is given, or one of its own on this machine."""

import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray

# Every process of a job: one thread per worker (the cluster's CPUs are already shared out) and no
# hub look-ups for models that are folders.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "DS_ACCELERATOR": os.environ.get("DS_ACCELERATOR", ""),
    "PYTHONWARNINGS": "ignore::FutureWarning",  # DeepSpeed's use of torch's collectives
    "RAY_DATA_LOG_LEVEL": "WARNING",
}


def serve_environment(folder: str) -> dict[str, str]:
    """How Ray Serve takes requests in, on a cluster of our own; `serve/environment` says the same
    for `ray start`, but for the draining.

    Args:
        folder: for HAProxy's files, whose usual place two clusters on a machine would share.
    """
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # A replica that stops takes requests so long yet. An endpoint that lives as long as its job
        # need not wait the usual 30 s, in which balancers are sure to have heard of it.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "doctor_sun.serving.guard.door.middlewares",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/haproxy/admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": f"{folder}/haproxy",
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/haproxy/server-state",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/haproxy/metrics.sock",
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(_unused_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(_unused_port()),
        # Where HAProxy sends requests while no replica is ready: not to another cluster's proxy.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(_unused_port()),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(_unused_port()),
    }


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def inherited(environment: dict[str, str]) -> Iterator[None]:
    """Environment variables for the processes that are started in the block, not for this one."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def own_interrupts() -> Iterator[None]:
    """Take back the handler of Ctrl-C that Ray Train installs and leaves: it holds Train's
    controller, an actor, for as long as this process lives, and would ask it in vain."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if before and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


@contextmanager
def connect(address: str | None) -> Iterator[None]:
    """A connection to Ray for the time of the block.

    Args:
        address: a cluster's address; None uses the cluster of the surrounding job or block
            (`RAY_ADDRESS`, an open connection), else starts one here and stops it at the end.

    A cluster of our own offers twice the machine's cores as logical CPUs: training workers, data
    actors and an engine wait for one another more than they compute.
    """
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS")
    environment = {name: value for name, value in WORKER_ENVIRONMENT.items() if value}
    own_folder = None
    if address:
        ray.init(
            address=address,
            runtime_env={"env_vars": environment},
            log_to_driver=True,
            ignore_reinit_error=True,
        )
    else:
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody takes it away
        # Each Parquet read would start 32 processes for the footers of a handful of files.
        os.environ.setdefault("RAY_DATA_PARQUET_FOOTER_NUM_ACTORS", "1")
        # Else Ray leaves a token file in the home folder, and from then on every `ray start` asks
        # for a token that `ray job submit` from a fresh shell does not send.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        own_folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # socket paths must stay short
        for name, value in serve_environment(own_folder).items():
            os.environ.setdefault(name, value)
        # Inherited by every process of the cluster, which costs nothing; a runtime environment
        # would double the time each of them takes to start.
        with inherited(environment):
            ray.init(address="local", num_cpus=2 * (os.cpu_count() or 1), _temp_dir=own_folder)
    try:
        yield
    finally:
        ray.shutdown()
    if own_folder:  # kept after an error: it holds the logs that explain it
        shutil.rmtree(own_folder, ignore_errors=True)
