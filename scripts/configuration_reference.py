#!/usr/bin/env python
"""Write docs/configuration.md: every key of every job, from the dataclasses themselves.

    python scripts/configuration_reference.py

The tests compare the file with what this would write.
"""

import re
import runpy
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_args
from unittest import mock

from doctor_sun.config import parser_of
from doctor_sun.serving.application import ServeConfig

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "configuration.md"
HEAD = """# Configuration reference

Every key of every job, written by `scripts/configuration_reference.py` from the dataclasses that
the code reads: change those, not this page. Each key stands in a YAML file (`--config FILE`,
several overlay one another) or on the command line (`--key.subkey value`), which has the last word;
a dot is a level of the YAML file. A key in **bold** must be given.
"""


def entry_points() -> dict[type[Any], dict[str, str]]:
    """Descriptions of the scripts that take each configuration, by script."""
    found: dict[type[Any], dict[str, str]] = {}
    for script in sorted((ROOT / "jobs").glob("*.py")):
        with mock.patch("doctor_sun.config.job") as job:
            runpy.run_path(str(script), run_name="__main__")
        _, config, description = job.call_args.args
        found.setdefault(config, {})[f"jobs/{script.name}"] = description
    search = runpy.run_path(str(ROOT / "tune" / "ratios.py"))
    for command, (_, config) in search["COMMANDS"].items():
        found[config] = {f"tune/ratios.py {command}": search["__doc__"]}
    application = runpy.run_path(str(ROOT / "serve" / "app.py"))
    found[ServeConfig] = {"serve.app:build_app": application["__doc__"]}
    return found


def section(config: type[Any], scripts: dict[str, str]) -> Iterator[str]:
    """The keys of one configuration, a table for each of its dataclasses."""
    names = ", ".join(f"`{name}`" for name in scripts)
    yield f"## {names}\n"
    yield from (description.strip().splitlines()[0] + "\n" for description in scripts.values())
    yield from tables(config)


def tables(config: type[Any], inside: str = "") -> Iterator[str]:
    """A table for each dataclass, those in lists and mappings after the ones that hold them."""
    held: dict[type[Any], str] = {}
    for group in parser_of(config)._action_groups:
        keys = [a for a in group._group_actions if _is_key(a)]
        if keys:
            yield _heading(inside, getattr(group, "dest", "") or "", group.title)
            yield "| key | type | default | meaning |\n|---|---|---|---|"
            yield from map(_row, keys)
            yield ""
            for key in keys:
                many = "[]" if "list[" in str(key._typehint) else ""
                held = dict.fromkeys(_dataclasses(key._typehint), key.dest + many) | held
    for kind, name in held.items():
        yield from tables(kind, ".".join(part for part in (inside, name) if part))


def _heading(inside: str, name: str, title: str) -> str:
    place = ".".join(part for part in (inside, name) if part)
    return f"### `{place}`: {title}\n" if place else f"{title}.\n"


def _is_key(action: Any) -> bool:
    return getattr(action, "_typehint", None) is not None and not action.dest.endswith(".help")


def _row(action: Any) -> str:
    name = f"`{action.dest}`"
    cells = (
        f"**{name}**" if action.required else name,
        _type_name(action._typehint),
        "" if action.required else _default(action.default),
        " ".join((action.help or "").split()),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type_name(hint: Any) -> str:
    """`list[float]`, `'a' | 'b'`, without the modules."""
    name = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    name = re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", name)
    name = re.sub(r"Literal\[(.*?)\]", lambda m: m[1].replace(", ", " | "), name)
    return f"`{name}`"


def _default(value: Any) -> str:
    if value is None:
        return "none"
    text = str(value) if not isinstance(value, bool) else str(value).lower()
    return f"`{text}`" if text else "empty"


def _dataclasses(hint: Any) -> Iterator[type[Any]]:
    """The dataclasses inside a type."""
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for part in get_args(hint):
        yield from _dataclasses(part)


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for config, scripts in entry_points().items():
        parts += section(config, scripts)
    return "\n".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
