"""README and docs: links lead somewhere, commands are taken, the reference is that of the code."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from doctor_sun.config import load, parse
from doctor_sun.data.curation import CurateConfig
from doctor_sun.serving.application import serve_config
from scripts.configuration_reference import PAGE, entry_points, page

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`((?:python |jobs/|tune/|make |pytest |doctor-sun )[^`]+)`")
# What is not ours to test: it is installed, or it is the reader's shell.
FOREIGN = {"cd", "curl", "export", "git", "helm", "kubectl", "docker", "source", "tensorboard"}
FOREIGN |= {"apt", "pip", "ray", "serve"}


def blocks(path: Path, language: str) -> Iterator[str]:
    yield from (text for kind, text in BLOCK.findall(path.read_text()) if kind == language)


def commands() -> Iterator[tuple[str, str]]:
    """Every command of the pages with the page's name, one a line, without comments."""
    for path in PAGES:
        found = [line for text in blocks(path, "bash") for line in _lines(text)]
        found += SPAN.findall(path.read_text())
        yield from ((path.name, line) for line in dict.fromkeys(found))


def _lines(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        for command in re.split(r"\s&&\s|\s--\s(?=python )", line.partition("  #")[0]):
            if command.strip() and not command.startswith("#"):
                yield command.strip()


ALL = list(commands())


def anchors(path: Path) -> set[str]:
    """GitHub's names of a page's headings."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(path.read_text()):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached = {(ROOT / link).resolve() for link in LINK.findall(PAGES[0].read_text())}
    assert set(PAGES[1:]) <= reached


def test_the_reference_is_that_of_the_code_and_explains_every_key() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run scripts/configuration_reference.py"
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith(("| `", "| **`"))]
    assert len(rows) > 300
    assert [row for row in rows if row.endswith("|  |")] == []


@pytest.mark.parametrize(("where", "command"), ALL, ids=[command[:60] for _, command in ALL])
def test_commands_are_taken(where: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts, modules and targets exist; jobs take their options and read their files."""
    monkeypatch.chdir(ROOT)
    words = shlex.split(command)
    if words[0] == "python":
        words.pop(0)
    if words[0] == "-m":
        module = ROOT / "platform" / words[1].replace(".", "/")
        assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()
    elif words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text()
    elif words[0] == "pytest":
        assert all((ROOT / word).is_file() for word in words[1:])
    elif words[0] == "doctor-sun":
        assert words[1] == "status"
    elif words[0].endswith(".py"):
        script = ROOT / words[0]
        assert script.is_file(), f"{where}: {command}"
        if script.parent.name in ("jobs", "tune"):
            _parse(words, script)
        else:
            assert all(word in script.read_text() for word in words if word.startswith("--"))
    else:
        assert words[0] in FOREIGN, f"{where}: {command}"


def _parse(words: list[str], script: Path) -> None:
    """Let the job's own parser read a command; files of the page's example stand in for its own."""
    by_script = {name: kind for kind, names in entry_points().items() for name in names}
    arguments = words[1:]
    name = str(script.relative_to(ROOT))
    if script.parent.name == "tune":
        name = f"{name} {arguments.pop(0)}"
    if not arguments:  # the job's name alone
        return
    if "mine.yaml" in arguments:
        arguments[arguments.index("--config") + 1] = str(ROOT / "configs/tiny/curate.yaml")
    parse(by_script[name], arguments)


def test_yaml_examples_are_configurations(tmp_path: Path) -> None:
    examples = [text for path in PAGES for text in blocks(path, "yaml")]
    assert examples
    for number, text in enumerate(examples):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        assert load(CurateConfig, str(file), output="out").sources
        [source] = yaml.safe_load(text)["sources"]
        assert source["kind"]


def test_serve_presets_are_configurations() -> None:
    for preset in ("config", "one-gpu", "autoscaled"):
        described = yaml.safe_load((ROOT / "serve" / f"{preset}.yaml").read_text())
        for application in described["applications"]:
            assert serve_config(application["args"]).model


@pytest.mark.parametrize(
    "command",
    [
        "-m doctor_sun.data.sources",
        "-m doctor_sun.data.assets",
        "-m doctor_sun.evaluation.tasks",
        "jobs/evaluate.py --score-only answers.jsonl --task vqa --scoring corrected --output out",
        "tune/ratios.py report --results paper --output out",
    ],
)
def test_commands_that_need_nothing_are_run(command: str, tmp_path: Path) -> None:
    row = '{"id": "1", "question": "Is it?", "answer": "yes", "prediction": "yes"}\n'
    (tmp_path / "answers.jsonl").write_text(row)
    script, *arguments = command.split()
    told = [script if script == "-m" else str(ROOT / script), *arguments]
    done = subprocess.run(
        [sys.executable, *told], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
