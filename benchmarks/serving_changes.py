#!/usr/bin/env python
"""What clients notice while the endpoint changes: more load, dead processes, new versions.

    python benchmarks/serving_changes.py [--quick]

Under a steady stream of questions, each with its outcome noted:

- load rises and falls: replicas go from 1 to 2 and back to 1
- a replica is killed with -9: only what it was answering may end, and may be tried again
- an engine's process is killed with -9: the same
- a new version is rolled out: nothing fails
- a version that cannot start is rolled out: nothing fails, the old one stays

`benchmarks/results/serving_changes.png` shows replicas, load and times. Fails when a request fails
that should not, or with a status that clients do not try again by themselves (408, 409, 429, 5xx,
a broken connection).
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from _endpoints import ENGINE
from _load import Outcome, load
from serving_overhead import bodies, random_llava

from doctor_sun.cluster import connect
from doctor_sun.serving import endpoint
from doctor_sun.serving.application import QUIET, ServeConfig, build_application
from tests.processes import descendants

RESULTS = Path(__file__).parent / "results"
PORT = 8421
TRIED_AGAIN = {0, 408, 409, 429, *range(500, 600)}
SETTLED_SECONDS = 240


def replicas() -> dict[str, int]:
    """Replicas of the model by their state."""
    from ray import serve

    deployments = serve.status().applications[endpoint.APPLICATION].deployments
    [told] = deployments.values()
    return {
        str(getattr(state, "value", state)): count for state, count in told.replica_states.items()
    }


def running() -> int:
    """Replicas that answer."""
    return replicas().get("RUNNING", 0)


def until(holds: Callable[[], bool], what: str) -> float:
    """Wait; the seconds that it took."""
    started = time.time()
    while not holds():
        if time.time() - started > SETTLED_SECONDS:
            raise TimeoutError(f"{what}: not within {SETTLED_SECONDS} s")
        time.sleep(0.5)
    return time.time() - started


@dataclass
class Stream:
    """Questions, so many at a time, from a thread of their own until the block ends."""

    url: str
    at_a_time: int
    outcomes: list[Outcome] = field(default_factory=list)

    def __enter__(self) -> "Stream":
        self._end = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._ask()), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    async def _ask(self) -> None:
        # A worker takes its next question from here, so that all end soon after the block does.
        def endless() -> Iterator[dict[str, Any]]:
            number = int(time.time())
            while not self._end.is_set():
                number += 1
                yield from bodies(1, number, image=number % 4 == 0)

        self.outcomes += await load(self.url, endless(), self.at_a_time)

    def failed(self) -> list[Outcome]:
        """What was not answered."""
        return [outcome for outcome in self.outcomes if not outcome.answered]


@dataclass
class Found:
    """What was seen of one change."""

    asked: int
    failed: Counter[str]
    may_fail: int
    seconds: dict[str, float]
    wrong: list[str]


def judged(stream: Stream, may_fail: int, **seconds: float) -> Found:
    """Compare what failed with what may."""
    failed = stream.failed()
    wrong = []
    if len(failed) > may_fail:
        wrong.append(f"{len(failed)} failed, {may_fail} may")
    for outcome in failed:
        # A stream that broke off has status 200: its client saw no end, and an error or none.
        if outcome.status not in TRIED_AGAIN and not (outcome.status == 200 and outcome.code):
            wrong.append(f"{outcome.status} {outcome.code} is not tried again")
    kinds = Counter(f"{outcome.status} {outcome.code}" for outcome in failed)
    return Found(len(stream.outcomes), kinds, may_fail, seconds, wrong)


def rolled_out(config: ServeConfig) -> None:
    """Hand a version to Serve."""
    from ray import serve

    version = serve.RunTarget(
        build_application(config),
        name=endpoint.APPLICATION,
        route_prefix="/",
        logging_config=QUIET,
    )
    serve.run_many([version], wait_for_applications_running=False)


@contextmanager
def noted(series: dict[str, list[Any]]) -> Iterator[None]:
    """Note the replicas twice a second."""
    end = threading.Event()

    def look() -> None:
        while not end.wait(0.5):
            states = replicas()
            series["time"].append(time.perf_counter())
            series["running"].append(states.get("RUNNING", 0))
            series["all"].append(sum(states.values()))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def scaled(url: str, series: dict[str, list[Any]]) -> tuple[Found, list[Outcome]]:
    """Load rises and falls."""
    with noted(series):
        with Stream(url, 1) as light:
            time.sleep(15)
        with Stream(url, 8) as heavy:
            up = until(lambda: running() == 2, "a second replica")
            time.sleep(30)
        with Stream(url, 1) as after:
            down = until(lambda: replicas() == {"RUNNING": 1}, "one replica again")
    all_of_it = Stream(url, 0, light.outcomes + heavy.outcomes + after.outcomes)
    return judged(all_of_it, 0, up=up, down=down), all_of_it.outcomes


def killed(url: str, part: str) -> Found:
    """One of two processes is killed with -9 under load."""
    at_a_time = 8
    with Stream(url, at_a_time) as stream:
        time.sleep(10)
        victim = descendants(part)[0]
        victim.kill()
        time.sleep(3)  # the controller has to notice, before two run again
        back = until(lambda: running() == 2 and len(descendants(part)) == 2, f"{part} again")
        time.sleep(5)
    # Each client may lose what it has under way, and what the dying process still takes in.
    return judged(stream, 2 * at_a_time, back=back)


def updated(url: str, config: ServeConfig, works: Callable[[], bool], what: str) -> Found:
    """A version is rolled out under load."""
    with Stream(url, 6) as stream:
        time.sleep(5)
        rolled_out(config)
        took = until(works, what)
        time.sleep(5)
    return judged(stream, 0, took=took)


def application() -> str:
    """Serve's word for how the application is."""
    from ray import serve

    return str(serve.status().applications[endpoint.APPLICATION].status.value)


def broken_copy(model: Path, folder: Path) -> Path:
    """A folder that looks right until its weights are read."""
    shutil.copytree(model, folder)
    [weights] = folder.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    return folder


def plot(series: dict[str, list[Any]], outcomes: list[Outcome], path: Path) -> None:
    """Replicas, requests under way and times to the first token, over the ramp."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    start = series["time"][0]
    figure, axes = plt.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
    seconds = [moment - start for moment in series["time"]]
    axes[0].step(seconds, series["all"], where="post", color="#bcb8b1", label="replicas, all")
    axes[0].step(seconds, series["running"], where="post", label="replicas that answer")
    under_way = [
        sum(outcome.started <= moment < outcome.finished for outcome in outcomes)
        for moment in series["time"]
    ]
    axes[0].plot(seconds, under_way, color="#e0a458", label="requests under way")
    axes[0].legend(fontsize=8)
    # A random model's words can all be special tokens, which nobody sees.
    answered = [outcome for outcome in outcomes if outcome.answered and outcome.pieces]
    axes[1].scatter(
        [outcome.started - start for outcome in answered],
        [1000 * outcome.first_token for outcome in answered],
        s=6,
    )
    axes[1].set(xlabel="seconds", ylabel="ms to the first token", yscale="log")
    axes[1].yaxis.set_major_formatter("{x:.0f}")
    axes[1].yaxis.set_minor_formatter("{x:.0f}")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    """All changes in turn."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="without the load ramp")
    parser.add_argument("--like", type=Path, default=Path("runs/tiny/export"), help="whose form")
    given = parser.parse_args()
    if not (given.like / "config.json").is_file():
        sys.exit(f"error: {given.like} is not there: `make demo` makes it")
    RESULTS.mkdir(exist_ok=True)
    found = Findings()
    with tempfile.TemporaryDirectory() as temporary, connect(None):
        model = Path(temporary) / "model"
        random_llava(given.like, model)
        config = ServeConfig(
            **vars(ENGINE),
            model=str(model),
            max_replicas=2,
            target_ongoing_requests=3,
            upscale_delay_seconds=3,
            downscale_delay_seconds=15,
        )
        url = endpoint.start(config, port=PORT)
        asyncio.run(load(url, [*bodies(4, 0, image=True)], 2))
        if not given.quick:
            series: dict[str, list[Any]] = {"time": [], "running": [], "all": []}
            found["load rises and falls"], outcomes = scaled(url, series)
            plot(series, outcomes, RESULTS / "serving_changes.png")
        two = replace(config, min_replicas=2)
        rolled_out(two)
        until(lambda: running() == 2 and application() == "RUNNING", "two replicas")
        found["a replica killed"] = killed(url, "IngressServer")
        found["an engine killed"] = killed(url, "EngineCore")
        new = replace(two, max_model_len=two.max_model_len - 16)
        before = {process.pid for process in descendants("EngineCore")}
        found["a new version"] = updated(
            url,
            new,
            lambda: (
                application() == "RUNNING"
                and not before & {process.pid for process in descendants("EngineCore")}
            ),
            "the new version",
        )
        failing = replace(new, model=str(broken_copy(model, Path(temporary) / "broken")))
        found["a version that cannot start"] = updated(
            url, failing, lambda: application() == "DEPLOY_FAILED", "Serve's word of it"
        )
        endpoint.stop()
    report(found)


class Findings(dict[str, Found]):
    """What was seen of each change, said as soon as it is known."""

    def __setitem__(self, name: str, seen: Found) -> None:
        super().__setitem__(name, seen)
        seconds = ", ".join(f"{what} {value:.0f} s" for what, value in seen.seconds.items())
        failed = sum(seen.failed.values())
        print(f"{name:30} {seen.asked:5} asked, {failed} failed ({seconds})", flush=True)
        for what in [*(f"{n} x {kind}" for kind, n in seen.failed.items()), *seen.wrong]:
            print(f"{'':30}   {what}", flush=True)


def report(found: Findings) -> None:
    """The file and the exit status."""
    asked = sum(seen.asked for seen in found.values())
    ratio = 1 - sum(sum(seen.failed.values()) for seen in found.values()) / asked
    result = {name: vars(seen) for name, seen in found.items()}
    (RESULTS / "serving_changes.json").write_text(json.dumps({**result, "ratio": ratio}, indent=1))
    print(f"ratio: {ratio:.4f} (answered of asked, over all changes)")
    sys.exit(1 if any(seen.wrong for seen in found.values()) else 0)


if __name__ == "__main__":
    main()
