"""YAML files and the command line -> one typed dataclass, for every job.

A job's configuration is a dataclass beside the code it configures, with a docstring under each
field: that docstring is the `--help` text. `jsonargparse` parses and checks the types; this file
adds what it lacks: an unknown key is refused with the nearest known one.
"""

import difflib
import io
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace, set_parsing_settings

from doctor_sun.errors import InputError, one_line_errors

set_parsing_settings(docstring_parse_attribute_docstrings=True)


@dataclass(kw_only=True)
class JobConfig:
    """What every job takes."""

    output: str
    """Folder (path or URI) that the job writes; complete only when it holds manifest.json."""

    address: str | None = None
    """Ray cluster to run on (`auto`, `ray://host:10001`); none starts one on this machine."""

    force: bool = False
    """Do the work again even when a finished result of the same inputs and configuration exists."""


Config = TypeVar("Config", bound=JobConfig)


class _Parser(ArgumentParser):
    """An ArgumentParser whose errors are ours: one line, with the nearest known key."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise InputError(_with_nearest(str(ex or message), self.known_keys()))

    def known_keys(self) -> list[str]:
        """Every key a YAML file or the command line may set, dotted."""
        names = [action.dest for action in self._actions]
        return [n for n in names if n not in ("help", "config") and not n.endswith(".help")]

    def with_values(self, arguments: Sequence[str]) -> list[str]:
        """The arguments as keys are spelt (`--score-only` is `--score_only`), `true` behind each
        switch that is given without a value.
        """
        switches = {f"--{a.dest}" for a in self._actions if getattr(a, "_typehint", None) is bool}
        known = {f"--{key}" for key in self.known_keys()}
        found: list[str] = []
        for given, following in zip_longest(arguments, arguments[1:], fillvalue="--"):
            name, equals, value = given.partition("=")
            spelt = "--" + name[2:].replace("-", "_")
            is_key = name.startswith("--") and spelt in known
            argument = spelt + equals + value if is_key else given
            found.append(argument)
            if argument in switches and following.startswith("--"):
                found.append("true")
        return found


def _with_nearest(message: str, known: Sequence[str]) -> str:
    """One line of an argparse message, naming the nearest known option when one is unknown."""
    line = " ".join(message.split())
    if "unrecognized arguments" in line.lower():
        unknown = line.split(":", 1)[1].split()[0].lstrip("-").split("=")[0]
        return unknown_key(unknown, known, "the command line")
    return line


def unknown_key(key: str, known: Sequence[str], where: str) -> str:
    """The message that refuses `key`, with the nearest of the known keys."""
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    hint = f"; the nearest known key is '{nearest[0]}'" if nearest else ""
    return f"unknown key '{key}' in {where}{hint}"


def _leaves(values: Mapping[str, Any], known: Sequence[str], prefix: str = "") -> Iterator[str]:
    """Dotted keys of a YAML mapping, down to the level at which options exist."""
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping) and any(k.startswith(f"{dotted}.") for k in known):
            yield from _leaves(value, known, f"{dotted}.")
        else:
            yield dotted


def _check_file(path: str, known: Sequence[str]) -> None:
    """Refuse a missing file, a file that is no YAML mapping, and unknown keys."""
    if not Path(path).is_file():
        raise InputError(f"configuration file {path} does not exist")
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, Mapping):
        raise InputError(f"{path} must hold a mapping of keys to values")
    for key in _leaves(values, known):
        if key not in known:
            raise InputError(unknown_key(key, known, path))


class _HelpFormatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Leaves the description's lines as they are: there are commands among them."""


def parser_of(config_class: type[JobConfig], description: str = "") -> _Parser:
    """The command line of a configuration."""
    parser = _Parser(
        description=description,
        formatter_class=_HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--config", action="config", help="YAML file; give several to overlay them")
    parser.add_class_arguments(config_class, fail_untyped=True)
    return parser


def parse(
    config_class: type[Config], arguments: Sequence[str] | None = None, description: str = ""
) -> Config:
    """Build the configuration from `--config FILE` (several: later wins) and `--key.subkey value`.

    Raises:
        InputError: an unknown key, a value of the wrong type, a missing or malformed file.
    """
    parser = parser_of(config_class, description)
    given = list(sys.argv[1:] if arguments is None else arguments)
    for position, argument in enumerate(given):
        if argument == "--config" and position + 1 < len(given):
            _check_file(given[position + 1], parser.known_keys())
        elif argument.startswith("--config="):
            _check_file(argument.split("=", 1)[1], parser.known_keys())
    try:
        namespace = parser.parse_args(parser.with_values(given))
    except InputError:
        raise
    except Exception as error:  # jsonargparse raises its own and argparse's errors
        raise InputError(_with_nearest(str(error), parser.known_keys())) from None
    values: Namespace = parser.instantiate_classes(namespace)
    values.pop("config", None)
    return config_class(**vars(values))


def load(config_class: type[Config], *files: str, **overrides: object) -> Config:
    """A configuration from files and dotted overrides (`**{"model.llm": path}`)."""
    arguments = [part for file in files for part in ("--config", file)]
    arguments += [f"--{key}={value}" for key, value in overrides.items() if value is not None]
    return parse(config_class, arguments)


def result_keys(config: JobConfig) -> dict[str, Any]:
    """The configuration that decides a result: all but where it runs and where it is written."""
    values = asdict(config)
    for key in ("output", "address", "force", *getattr(config, "not_in_result", ())):
        values.pop(key, None)
    return values


def job(run: Callable[[Config], Any], config_class: type[Config], description: str) -> None:
    """The body of each entry point: parse, run; one line and status 2 when the input is wrong."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # progress in a pipe or a log file, too
    with one_line_errors():
        run(parse(config_class, description=description.strip()))
