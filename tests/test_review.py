"""The review page over a real server: token, decisions on disk, edits, malformed requests."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from upath import UPath

from doctor_sun.data.review import DECISIONS, QUEUE, Queue, read_decisions, write_private
from doctor_sun.errors import InputError


def item(number: int) -> dict[str, Any]:
    return {
        "id": f"{number:064d}",
        "source": "reports",
        "reason": "check: numbers",
        "source_turns": [
            {"role": "user", "text": "<image>\nWhat is seen?"},
            {"role": "assistant", "text": f"A nodule of {number} mm in the left lung."},
        ],
        "turns": [
            {"role": "user", "text": "<image>\n见到什么？"},
            {"role": "assistant", "text": "左肺结节。"},
        ],
        "translation": f"hash{number}",
        "scores": None,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lines = "".join(json.dumps(item(n), ensure_ascii=False) + "\n" for n in range(3))
    write_private(UPath(tmp_path / QUEUE), lines)
    return tmp_path


@pytest.fixture
def address(folder: Path) -> Iterator[tuple[str, str]]:
    """The page as a person starts it: its address and its token."""
    command = [sys.executable, "-m", "doctor_sun.data.review", str(folder), "--reviewer", "J. Doe"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        line = process.stdout.readline()
        found = re.fullmatch(r"3 translations: (http://127\.0\.0\.1:\d+)/\?token=(\S+)\n", line)
        assert found, line
        yield found[1], found[2]
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_a_person_decides_and_every_decision_is_on_disk(
    folder: Path, address: tuple[str, str]
) -> None:
    base, token = address
    with httpx.Client(base_url=base, headers={"X-Token": token}) as client:
        assert client.get("/state").json() == {
            "count": 3, "open": [0, 1, 2], "reviewer": "J. Doe"
        }  # fmt: skip
        assert client.get("/item/1").json() == item(1) | {"decided": None}
        assert client.post("/item/0", json={"decision": "accept"}).json()["open"] == [1, 2]
        texts = ["<image>\n看到什么？", "左肺1毫米结节。"]
        edited = client.post("/item/1", json={"decision": "edit", "texts": texts})
        assert edited.json()["open"] == [2]
        client.post("/item/2", json={"decision": "accept"})
        client.post("/item/2", json={"decision": "reject"})
        assert client.get("/item/2").json()["decided"]["decision"] == "reject"
    assert (folder / DECISIONS).stat().st_mode & 0o777 == 0o600
    assert len((folder / DECISIONS).read_text(encoding="utf-8").splitlines()) == 4
    decisions = read_decisions(UPath(folder))
    assert [decisions[item(n)["id"]].decision for n in range(3)] == ["accept", "edit", "reject"]
    second = decisions[item(1)["id"]]
    assert second.turns is not None
    assert [turn["text"] for turn in second.turns] == texts
    assert second.reviewer == "J. Doe"
    assert second.time.endswith("+00:00")
    again = Queue(UPath(folder), "another")  # a page that is opened again knows them
    assert again.state()["open"] == []


def test_nothing_without_the_token_and_nothing_from_another_page(
    folder: Path, address: tuple[str, str]
) -> None:
    base, token = address
    with httpx.Client(base_url=base) as client:
        assert client.get("/").status_code == 403
        assert client.get("/", params={"token": "wrong"}).status_code == 403
        page = client.get("/", params={"token": token})
        assert page.status_code == 200
        assert token not in page.text
        assert not re.search(r"(?:src|href)=", page.text)  # no assets
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert page.headers["referrer-policy"] == "no-referrer"
        accept = {"decision": "accept"}
        # A form elsewhere cannot set the header; another name for this machine is refused.
        assert client.post("/item/0", json=accept).status_code == 403
        assert client.post("/item/0", params={"token": token}, json=accept).status_code == 403
        right = {"X-Token": token}
        foreign = client.post("/item/0", json=accept, headers=right | {"Host": "evil.example"})
        assert foreign.status_code == 400
    assert not (folder / DECISIONS).exists()


@pytest.mark.parametrize(
    ("number", "body", "words"),
    [
        (0, {"decision": "perhaps"}, "accept, edit or reject"),
        (0, {"decision": "edit"}, "every turn"),
        (0, {"decision": "edit", "texts": ["<image>\n好", " "]}, "every turn"),
        (0, {"decision": "edit", "texts": ["好", "好"]}, "<image>"),
        (9, {"decision": "accept"}, "malformed"),
        (0, {}, "malformed"),
        (0, [], "malformed"),
    ],
)
def test_a_decision_that_cannot_be_is_refused(
    folder: Path, address: tuple[str, str], number: int, body: Any, words: str
) -> None:
    base, token = address
    answer = httpx.post(f"{base}/item/{number}", json=body, headers={"X-Token": token})
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert not (folder / DECISIONS).exists()


def test_a_folder_without_a_queue_and_a_damaged_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=QUEUE):
        Queue(UPath(tmp_path), "r")
    write_private(UPath(tmp_path / DECISIONS), '{"id": "a"}\n')
    with pytest.raises(InputError, match=r"decisions\.jsonl, line 1"):
        read_decisions(UPath(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "doctor_sun.data.review", str(tmp_path)],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
