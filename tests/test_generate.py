"""Answers for an archive: kills, refusals, an engine; every row accounted for, none asked twice."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from upath import UPath

from doctor_sun.asking.answers import AnswerIndex
from doctor_sun.config import load
from doctor_sun.errors import InputError
from doctor_sun.generation.asks import SURVEY, DecodingConfig
from doctor_sun.generation.job import GenerateConfig, check, run
from doctor_sun.vllm_engine import EngineConfig
from tests.archives import (
    HASHES,
    PICTURES,
    QUESTIONS,
    SECRET,
    tables_of,
    write_lines,
)
from tests.chat_server import ChatServer, Reply
from tests.killed_jobs import command_of, kill_after, kill_an_asker_after
from tests.test_sources_dicom import dicom
from tests.tiny_models import build_llava


def an_answer(request: Mapping[str, Any]) -> str:
    """A model that says another thing to every other question or image."""
    return hashlib.sha256(json.dumps(request["messages"]).encode()).hexdigest()[:8]


def write_archive(path: Path, different: int) -> int:
    """Rows with images: every third is asked twice, every tenth is broken; how many rows."""
    rows: list[dict[str, Any]] = []
    for n in range(different):
        row = {"id": f"{n}", "question": f"Which side is {n}?", "image": PICTURES[n % 3]}
        rows += [row, row | {"id": f"{n} again"}] if n % 3 == 0 else [row]
        rows += [row | {"id": f"{n} broken", "image": b"broken"}] if n % 10 == 0 else []
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=50)
    return len(rows)


def endpoint_options(server: ChatServer, data: Path, output: Path) -> dict[str, Any]:
    """A job of an endpoint, on the command line and in a call alike."""
    return {
        "data": str(data),
        "endpoint.base_url": server.url,
        "endpoint.in_flight": 8,
        "endpoint_model": "remote",
        "output": str(output),
    }


def generated(options: dict[str, Any]) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """Run in this process: manifest, answers, ledger."""
    manifest = run(load(GenerateConfig, **options))
    output = Path(options["output"])
    tables = (pq.read_table(output / name).to_pylist() for name in ("answers", "ledger"))
    return (manifest, *tables)


@pytest.mark.slow
def test_a_killed_job_and_a_killed_worker_ask_only_what_is_missing(
    tmp_path: Path, ray_cluster: None
) -> None:
    """kill -9 of all, then of a worker: what was stored is not asked again, the result is an
    undisturbed run's."""
    different = 300
    rows = write_archive(tmp_path / "rows.parquet", different)
    with ChatServer(says=an_answer, latency=0.1) as server:
        options = endpoint_options(server, tmp_path / "rows.parquet", tmp_path / "out")
        paid = kill_after(100, command_of("generate", options), server, tmp_path / "killed.log")
        stored = len(AnswerIndex.of(UPath(tmp_path / "out/asked")).keys)
        assert len(paid) == 100
        assert (tmp_path / "out" / SURVEY).is_dir()
        server.answered.clear()
        killer = kill_an_asker_after(80, server)
        manifest, answers, ledger = generated(options)
        assert not killer.is_alive()
        assert not (tmp_path / "out" / SURVEY).exists()
        asked = server.answered
        assert len(asked) == manifest["counts"]["asked"] == different - stored
        assert asked.total() - len(asked) <= 4  # in flight, of the killed worker
        assert max(asked.values()) <= 2
        # What was answered and not yet stored when the process died: at most what was in flight.
        assert len(paid & set(asked)) <= 8
        again = generated(options)
        assert again[0] == manifest
        whole = generated(options | {"output": str(tmp_path / "whole")})
    assert (answers, ledger) == whole[1:] == again[1:]
    assert len(answers) + len(ledger) == rows
    source = pq.read_table(tmp_path / "rows.parquet")["id"].to_pylist()
    assert [row["id"] for row in answers] == [id for id in source if "broken" not in id]
    assert {row["reason"] for row in ledger} == {"unreadable image"}
    by_id = {row["id"]: row for row in answers}
    assert by_id["3 again"] | {"id": "3"} == by_id["3"]


@pytest.mark.slow
def test_what_an_endpoint_refuses_stops_or_is_in_the_ledger(
    tmp_path: Path, ray_cluster: None
) -> None:
    status = 503

    def refuse(content: str, before: int) -> Reply | None:
        refused = status != 200 and "Is there" in content
        return Reply(status=status, body="{}") if refused else None

    data = tables_of(tmp_path)["lines"]
    with ChatServer(refuse, says=an_answer) as server:
        options = endpoint_options(server, data, tmp_path / "out") | {"endpoint.attempts": 1}
        with pytest.raises(InputError, match=r"1 questions got no answer \(http 503: 1\)"):
            generated(options)
        status = 400
        manifest, answers, ledger = generated(options)
        assert max(server.asked.values()) == 2
        assert server.asked.total() == len(QUESTIONS) + 1
        assert [row["question"] for row in answers] == QUESTIONS[:2]
        assert [row["reason"] for row in ledger] == ["no answer: http 400"]
        assert manifest["counts"]["ledger"] == {"no answer: http 400": 1}
        asked = [json.loads(content) for content in server.asked]
        assert [part["type"] for part in asked[0]] == ["image_url", "text"]

        status = 200
        server.asked.clear()
        _, answers, ledger = generated(options | {"force": True})
        assert [row["question"] for row in answers] == QUESTIONS
        assert server.asked.total() == 1

        with data.open("a") as stream:  # the archive has grown
            stream.write(json.dumps({"question": "No image?"}) + "\n")
        server.asked.clear()
        _, answers, ledger = generated(options)
        assert [row["image_sha256"] for row in answers] == [*HASHES, ""]
        assert list(server.asked) == ["No image?"]
        line = write_lines(tmp_path / "one.jsonl", [{"question": SECRET, "image": "gone.png"}])
        options = endpoint_options(server, line, tmp_path / "none")
        with pytest.raises(InputError, match=r"not one of 1 rows was answered \(1 missing image\)"):
            generated(options)


@pytest.mark.slow
def test_an_engine_answers_every_row_that_it_can(
    tmp_path: Path, ray_cluster: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """What does not fit stops nothing; twins share an answer; an image makes a difference."""
    rows: list[dict[str, Any]] = [
        {"id": "left", "question": "Which side?", "image": PICTURES[0]},
        {"id": "twin", "question": "Which side?", "image": PICTURES[0]},
        {"id": "marked", "question": "<image>\nWhich side?", "image": PICTURES[0]},
        {"id": "right", "question": "Which side?", "image": PICTURES[1]},
        {"id": "scan", "question": "Which side?", "image": dicom()},
        {"id": "text", "question": "Which side? <image>"},
        {"id": "told", "question": "Which side?", "system": "Say left.", "image": PICTURES[0]},
        {"id": "long", "question": f"{SECRET} " * 200, "image": PICTURES[0]},
        {"id": "many", "question": SECRET, "images": [PICTURES[0], PICTURES[1]]},
        {"id": "broken", "question": SECRET, "image": b"broken"},
    ]
    columns: dict[str, Any] = dict.fromkeys(("question", "system", "image", "images"))
    table = pa.Table.from_pylist([columns | row for row in rows])
    pq.write_table(table, tmp_path / "rows.parquet")
    config = GenerateConfig(
        data=str(tmp_path / "rows.parquet"),
        model=build_llava(tmp_path / "llava"),
        name="tiny",
        output=str(tmp_path / "out"),
        engine=EngineConfig(dtype="float32", max_model_len=128, images_per_prompt=1),
        decoding=DecodingConfig(max_tokens=6),
    )
    manifest = run(config)
    answers = {row["id"]: row for row in pq.read_table(tmp_path / "out" / "answers").to_pylist()}
    ledger = pq.read_table(tmp_path / "out" / "ledger").to_pylist()
    assert list(answers) == [row["id"] for row in rows[:7]]
    assert {row["id"]: row["reason"].split(":")[0] for row in ledger} == {
        "long": "refused by the engine",
        "many": "more images than engine.images_per_prompt",
        "broken": "unreadable image",
    }
    assert manifest["counts"]["asked"] == 6  # the long one too
    said = {id: row["answer"] for id, row in answers.items()}
    assert said["left"] == said["twin"] == said["marked"]
    assert len({said[id] for id in ("left", "right", "scan", "text")}) == 4
    assert {row["model"] for row in answers.values()} == {"tiny"}
    assert answers["left"]["completion_tokens"] == 6
    assert answers["left"]["finish"] == "length"
    assert run(config) == manifest
    printed = "".join(capfd.readouterr())
    assert "reused" in printed
    assert SECRET not in printed


def test_wrong_requests_end_with_one_line(tmp_path: Path) -> None:
    given = {"data": str(tmp_path), "output": str(tmp_path.parent / "out")}
    with pytest.raises(InputError, match="give one of --model and"):
        check(GenerateConfig(**given))
    with pytest.raises(InputError, match="give one of --question and --questions"):
        check(GenerateConfig(**given, model="x", question="?", questions="file"))
    with pytest.raises(InputError, match="--output lies in --data"):
        check(GenerateConfig(data=str(tmp_path), output=f"{tmp_path}/a/out", model="x"))
    with pytest.raises(InputError, match="encoding gb is unknown"):
        check(GenerateConfig(**given, model="x", encoding="gb"))
    with pytest.raises(InputError, match="decoding takes 1 and more"):
        check(GenerateConfig(**given, model="x", decoding=DecodingConfig(batch=0)))
    with pytest.raises(InputError, match="holds no model"):
        run(GenerateConfig(**given, model=str(tmp_path / "none")))
    assert not (tmp_path.parent / "out").exists()
