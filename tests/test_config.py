"""Configuration: YAML and command line, unknown keys refused with the nearest known one."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from doctor_sun.config import JobConfig, load, parse, result_keys
from doctor_sun.errors import InputError


@dataclass(kw_only=True)
class Optimizer:
    """An optimizer."""

    learning_rate: float = 1e-3
    """Peak rate."""


@dataclass(kw_only=True)
class Part:
    """A part."""

    share: float
    """Its share."""


@dataclass(kw_only=True)
class Example(JobConfig):
    """A job."""

    steps: int = 3
    """Steps."""

    optimizer: Optimizer = field(default_factory=Optimizer)
    """The optimizer."""

    extra: Part | None = None
    """An optional part."""

    parts: list[Part] = field(default_factory=list)
    """The parts."""


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_later_files_and_the_command_line_win(tmp_path: Path) -> None:
    first = write(
        tmp_path / "a.yaml",
        "steps: 5\noptimizer: {learning_rate: 0.5}\nparts: [{share: 1}]\nextra: {share: 3}",
    )
    second = write(tmp_path / "b.yaml", "steps: 6")
    config = parse(
        Example,
        ["--config", first, "--config", second, "--optimizer.learning_rate", "2", "--output", "o"],
    )
    assert (config.steps, config.optimizer.learning_rate) == (6, 2.0)
    assert config.parts == [Part(share=1.0)]
    assert config.extra == Part(share=3.0)
    assert load(Example, first, second, output="o", **{"optimizer.learning_rate": 2}) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stpes: 4", "unknown key 'stpes' in .*; the nearest known key is 'steps'"),
        ("optimizer: {learning_rat: 1}", "'optimizer.learning_rat' .* 'optimizer.learning_rate'"),
        ("parts: [{shar: 1}]", "shar"),
        ("steps: four", "four"),
        ("a: [", "not valid YAML"),
        ("- a", "must hold a mapping"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        parse(Example, ["--config", write(tmp_path / "c.yaml", text), "--output", "o"])
    assert "\n" not in str(refused.value)


def test_unknown_option_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'optimizer\.learning_rt' in the command line; .*_rate'"):
        parse(Example, ["--output", "o", "--optimizer.learning_rt", "1"])


def test_missing_file_and_missing_output() -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml does not exist"):
        parse(Example, ["--config", "nowhere.yaml", "--output", "o"])
    with pytest.raises(InputError, match="output"):
        parse(Example, ["--steps", "3"])


def test_result_keys_leave_out_where_a_job_runs() -> None:
    first = result_keys(Example(output="a", address="auto", force=True))
    assert first == result_keys(Example(output="b"))
    assert first != result_keys(Example(output="a", steps=4))


def test_platform_of_the_standard_library_stays_reachable() -> None:
    code = "import platform; print(platform.python_version())"
    root = Path(__file__).parents[1]
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert found.stdout.strip() == sys.version.split()[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [([], False), (["--force"], True), (["--force", "false"], False), (["--force=true"], True)],
)
def test_a_switch_needs_no_value(given: list[str], expected: bool) -> None:
    for arguments in ([*given, "--output", "x"], ["--output", "x", *given]):
        assert parse(Example, arguments).force is expected


def test_dashes_in_a_key_are_underscores_and_those_of_a_value_stay() -> None:
    config = parse(Example, ["--optimizer.learning-rate=2", "--output", "a-b"])
    assert config.optimizer.learning_rate == 2
    assert config.output == "a-b"
    with pytest.raises(InputError, match="unknown key 'learning-rate'"):
        parse(Example, ["--learning-rate=2", "--output", "o"])
