"""The jobs that ask an endpoint, started and looked at in one way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from doctor_sun.cluster import inherited
from doctor_sun.config import load
from doctor_sun.data.translation.job import TranslateConfig
from doctor_sun.data.translation.job import run as translate
from tests import test_evaluate, test_generate, test_translation
from tests.chat_server import ChatServer, translation


@dataclass(frozen=True)
class AskingJob:
    """One of them."""

    write: Callable[[Path, int], object]
    """Write data whose questions differ, so many of them."""

    options: Callable[[ChatServer, Path, Path], dict[str, Any]]
    """From a server, data and an output folder."""

    result: Callable[[dict[str, Any]], object]
    """Run in this process; all that must be the same whatever happens on the way."""

    says: Callable[[Mapping[str, Any]], str]
    """What an endpoint answers."""


def _write_archive(path: Path, questions: int) -> None:
    path.mkdir()
    test_generate.write_archive(path / "rows.parquet", questions)


def _answers(options: dict[str, Any]) -> object:
    return test_generate.generated(options)[1:]


def _write_samples(path: Path, questions: int) -> None:
    test_translation.write_data(path, questions // 2)  # translated and then judged


def _translate_options(server: ChatServer, data: Path, output: Path) -> dict[str, Any]:
    return {
        "data": str(data),
        "output": str(output),
        "domain": "medical",
        "model.model": "m",
        "endpoint.base_url": server.url,
        "endpoint.in_flight": 8,
        "endpoint.key_variable": test_translation.KEY_VARIABLE,
    }


def _translations(options: dict[str, Any]) -> object:
    with inherited({test_translation.KEY_VARIABLE: test_translation.KEY}):
        translate(load(TranslateConfig, **options))
    return test_translation.outcome(Path(options["output"]))


ASKING_JOBS = {
    "generate": AskingJob(
        _write_archive,
        test_generate.endpoint_options,
        _answers,
        test_generate.an_answer,
    ),
    "translate": AskingJob(_write_samples, _translate_options, _translations, translation),
    "evaluate": AskingJob(
        test_evaluate.write_medqa,
        lambda server, data, output: test_evaluate.endpoint_options(server, str(data), output),
        test_evaluate.evaluated,
        test_evaluate.a_letter,
    ),
}
