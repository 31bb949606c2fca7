"""The translating job against a real server: accounts, failures, kills, budget, review, checks."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray
from upath import UPath

from doctor_sun.asking.budget import BudgetConfig
from doctor_sun.asking.chat_client import EndpointConfig
from doctor_sun.config import load
from doctor_sun.data.ledger import ledger_table
from doctor_sun.data.review import Queue
from doctor_sun.data.translation.job import TranslateConfig, run
from doctor_sun.data.translation.outcomes import in_share
from doctor_sun.data.translation.prompts import ModelConfig
from doctor_sun.errors import InputError
from doctor_sun.records import check_sample, make_sample, to_table
from tests.chat_server import ChatServer, Reply
from tests.killed_jobs import command_of, kill_after, kill_an_asker_after
from tests.small_data import picture

KEY = "sk-never-to-be-seen"
KEY_VARIABLE = "TEST_ENDPOINT_KEY"
SECRET_TEXT = "kidney of case"


def sample(number: int, **changes: Any) -> dict[str, Any]:
    """An English sample whose text no other number has; every fifth is multiple choice."""
    side = ("left", "right")[number % 2]
    image = [picture(number)] if number % 7 == 0 else []
    mark = "<image>\n" if image else ""
    if number % 5 == 0:
        question = f"Which side shows the nodule, case {number}?\nA. left\nB. right"
        answer = f"{'AB'[number % 2]}. {side}"
    else:
        question = f"What is seen of case {number}?"
        answer = f"The {side} {SECRET_TEXT} {number} shows a nodule of {number} mm."
    turns = [{"role": "user", "text": mark + question}, {"role": "assistant", "text": answer}]
    values: dict[str, Any] = {
        "source": "reports",
        "source_key": str(number),
        "domain": "medical",
        "language": "en",
        "task": "vqa" if image else "instruction",
        "turns": turns,
        "images": image,
    }
    return make_sample(**(values | changes))


def write_data(folder: Path, count: int, files: int = 2) -> str:
    """English samples in several files, some Chinese and general ones among them."""
    folder.mkdir(parents=True)
    samples = [sample(number) for number in range(count)]
    samples.append(sample(9000, language="zh"))
    samples.append(sample(9001, domain="general"))
    size = -(-len(samples) // files)
    for at in range(files):
        table = to_table(samples[at * size : (at + 1) * size])
        pq.write_table(table, folder / f"part-{at:06d}.parquet")
    return str(folder)


def config_for(server: ChatServer, data: str, output: Path, **changes: Any) -> TranslateConfig:
    endpoint: dict[str, Any] = {
        "base_url": server.url,
        "key_variable": KEY_VARIABLE,
        "in_flight": 8,
        "timeout": 2.0,
        "attempts": 2,
        "longest_wait": 2.0,
    }
    values: dict[str, Any] = {
        "data": data,
        "output": str(output),
        "domain": "medical",
        "model": ModelConfig(model="m", max_tokens=200),
        "spot_check": 0.0,
        "endpoint": EndpointConfig(**(endpoint | changes.pop("endpoint", {}))),
    }
    return TranslateConfig(**(values | changes))


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


def outcome(output: Path) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Translated samples by their parent's id, ledger entries by id; each row stands once."""
    samples = [
        row for f in (output / "data").glob("*.parquet") for row in pq.read_table(f).to_pylist()
    ]
    entries = ledger_table(str(output)).to_pylist()
    translated = {row["parents"][0]: row for row in samples}
    entered = {entry["id"]: entry for entry in entries}
    assert len(translated) == len(samples)
    assert len(entered) == len(entries)
    assert not translated.keys() & entered.keys()
    for row in samples:
        check_sample(row)
        assert row["language"] == "zh"
        assert row["made_by"].startswith("translate m ")
        assert row["id"] != row["parents"][0]
    return translated, entered


def secrets_in(folder: Path) -> list[str]:
    """Files below a folder, review queue, answers and data aside, that hold a key or a text."""
    allowed = ("review", "answers", "data", "steps")
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).parts[0] not in allowed:
            content = path.read_bytes()
            found += [str(path) for s in (KEY, SECRET_TEXT) if s.encode() in content]
    return found


@pytest.mark.slow
def test_every_row_is_translated_once_whatever_happens_on_the_way(
    ray_cluster: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of every tenth of the rows, one meets each kind of failure; then a second run, then force."""
    kinds: dict[int, Reply] = {
        0: Reply(status=500, body=f'{{"error": "{SECRET_TEXT}"}}'),
        1: Reply(status=429, body="{}", headers={"Retry-After": "0.3"}),
        2: Reply(body=f"<html>{SECRET_TEXT}</html>"),
        3: Reply(drop=True),
        4: Reply(delay=9),
    }
    well = False

    def script(content: str, before: int) -> Reply | None:
        """Kinds 0 to 4 pass after one failure; case 23 and 44 never work until `well`."""
        number = case_of(content)
        if number in (23, 44) and not well and "translation" not in content:
            return Reply(status=500) if number == 23 else kinds[2]
        return None if before else kinds.get(number % 10)

    data = write_data(tmp_path / "in", 60)
    with ChatServer(script, key=KEY, latency=0.01) as server:
        config = config_for(server, data, tmp_path / "out")
        manifest = run(config)
        translated, entered = outcome(tmp_path / "out")
        ids = {number: sample(number)["id"] for number in range(60)}
        assert {entered[ids[23]]["reason"], entered[ids[44]]["reason"]} == {
            "no answer: http 500",
            "no answer: not JSON",
        }
        assert set(entered) == {ids[23], ids[44]}
        assert set(translated) == set(ids.values()) - set(entered)
        assert manifest["counts"] == {"rows_in": 60, "translated": 58, "dropped": 2, "review": 0}
        assert server.most_in_flight <= 8
        assert max(server.answered.values()) == 1
        asked = server.asked.total()

        assert run(config) == manifest
        assert "reused" in capfd.readouterr().out
        assert server.asked.total() == asked  # a second identical call asks nothing

        well = True
        run(config_for(server, data, tmp_path / "out", force=True))
        translated, entered = outcome(tmp_path / "out")
        assert set(translated) == set(ids.values())
        assert server.asked.total() == asked + 2 + 2 * 2  # judgements work at the second attempt
        assert max(server.answered.values()) == 1

    choice = translated[ids[5]]
    assert [turn["text"] for turn in choice["turns"]] == [
        "哪侧显示结节，病例5？\nA. 左\nB. 右",
        "B. 右",
    ]
    shown = translated[ids[7]]
    assert shown["turns"][0]["text"].startswith("<image>\n")
    assert shown["images"] == sample(7)["images"]
    logs = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"
    said = capfd.readouterr()
    assert not secrets_in(tmp_path / "out")
    for secret in (KEY, SECRET_TEXT):
        assert secret not in said.out + said.err
        for log in logs.rglob("*"):
            assert not log.is_file() or secret.encode() not in log.read_bytes(), log


def case_of(content: str) -> int:
    """The number of the sample that a request is about."""
    return int("".join(c for c in content.split("case ", 1)[1][:5] if c.isdigit()))


@pytest.mark.slow
def test_a_refused_key_stops_the_job_at_once(ray_cluster: None, tmp_path: Path) -> None:
    data = write_data(tmp_path / "in", 200, files=1)
    with ChatServer(key="another", latency=0.01) as server:
        with pytest.raises(InputError, match="refused the key") as caught:
            run(config_for(server, data, tmp_path / "out"))
        assert server.asked.total() <= 2 * 8
    assert KEY_VARIABLE in str(caught.value)
    assert KEY not in str(caught.value)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.slow
def test_the_budget_is_not_overstepped_and_a_higher_one_goes_on(
    ray_cluster: None, tmp_path: Path
) -> None:
    data = write_data(tmp_path / "in", 40)
    with ChatServer(key=KEY) as server:

        def budget(tokens: int) -> TranslateConfig:
            capped = BudgetConfig(most_tokens=tokens)
            return config_for(server, data, tmp_path / "out", budget=capped)

        with pytest.raises(InputError, match="budget is spent"):
            run(budget(12_000))
        first = server.asked.total()
        used = used_tokens(tmp_path / "out" / "answers")
        assert 6_000 < used <= 12_000
        with pytest.raises(InputError, match="budget is spent"):
            run(budget(12_000))
        assert server.asked.total() == first
        run(budget(10**7))
        assert max(server.asked.values()) == 1
    assert len(outcome(tmp_path / "out")[0]) == 40


def used_tokens(answers: Path) -> int:
    lines = [json.loads(line) for f in answers.glob("*.jsonl") for line in f.open()]
    return sum(line["prompt_tokens"] + line["completion_tokens"] for line in lines)


@pytest.mark.slow
def test_a_killed_job_and_a_killed_worker_pay_nothing_twice(
    ray_cluster: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`kill -9` of the job and its Ray cluster, then, of the same job once more, of a worker."""
    data = write_data(tmp_path / "in", 100)
    output = tmp_path / "out"
    with ChatServer(key=KEY, latency=0.1) as server:
        options = {
            **{"data": data, "output": str(output), "domain": "medical", "model.model": "m"},
            **{"endpoint.base_url": server.url, "endpoint.key_variable": KEY_VARIABLE},
            "endpoint.in_flight": 8,
        }
        log = tmp_path / "first.log"
        answered = kill_after(50, command_of("translate", options), server, log)
        stored = stored_lines(output / "answers")
        assert len(answered) == 50  # of 200: each sample is translated, and then judged
        assert len(stored) >= len(answered) - 8
        capfd.readouterr()
        killer = kill_an_asker_after(120, server)
        run(load(TranslateConfig, **options))
        assert not killer.is_alive()
        done = capfd.readouterr()
        assert "resuming" in done.out
        assert len(server.answered) == 200
        # In flight at the kills, of all workers and of one: answered, with nobody there to hear it.
        assert server.answered.total() - 200 <= 8 + 4
        assert len(stored_lines(output / "answers")) == len(set(stored_lines(output / "answers")))
    translated, entered = outcome(output)
    assert len(translated) == 100
    assert not entered
    for said in (done.out, done.err, log.read_text()):
        assert KEY not in said
        assert SECRET_TEXT not in said


def stored_lines(answers: Path) -> list[str]:
    """Keys of all complete lines."""
    lines = [line for f in answers.glob("*.jsonl") for line in f.read_bytes().split(b"\n")[:-1]]
    return [json.loads(line)["key"] for line in lines]


@pytest.mark.slow
def test_decisions_are_applied_by_the_next_run(ray_cluster: None, tmp_path: Path) -> None:
    """Held rows are accepted, edited or rejected by a person; what nobody decided stays held."""

    def script(content: str, before: int) -> Reply | None:
        if "translation" in content:
            score = {1: 2, 2: 3, 3: 1, 4: 3}.get(case_of(content), 5)
            said = json.dumps({"fluency": score, "adequacy": 5})
            return answered_with(said if case_of(content) != 6 else "fluent enough")
        return None

    data = write_data(tmp_path / "in", 12)
    output = tmp_path / "out"
    ids = {sample(number)["id"]: number for number in range(12)}
    with ChatServer(script, key=KEY) as server:
        config = config_for(server, data, output)
        run(config)
        translated, entered = outcome(output)
        held = {ids[id]: entry for id, entry in entered.items()}
        assert {n: e["verdict"] for n, e in held.items()} == dict.fromkeys(
            (1, 2, 3, 4, 6), "review"
        )
        assert held[6]["reason"] == "judge: not JSON"
        assert held[1]["reason"] == "judge: fluency"
        queue_file = output / "review" / "queue.jsonl"
        assert queue_file.stat().st_mode & 0o777 == 0o600
        queue = Queue(UPath(output), "reader")
        place = {ids[item["id"]]: number for number, item in enumerate(queue.items)}
        assert set(place) == set(held)
        queue.decide(place[1], "accept", None)
        queue.decide(place[2], "edit", ["改过的问题？", "右肾有2毫米的结节。"])
        queue.decide(place[3], "accept", None)
        queue.decide(place[3], "reject", None)  # the last decision counts
        asked = server.asked.total()

        run(config)
        assert server.asked.total() == asked
        translated, entered = outcome(output)
        assert {ids[id] for id in entered} == {3, 4, 6}
        by_number = {ids[id]: entry for id, entry in entered.items()}
        assert by_number[3]["verdict"] == "dropped"
        assert by_number[3]["reason"] == "rejected in review"
        assert json.loads(by_number[3]["evidence"])["reviewer"] == "reader"
        by_number = {ids[id]: row for id, row in translated.items()}
        assert by_number[2]["turns"][1]["text"] == "右肾有2毫米的结节。"
        assert by_number[2]["made_by"].endswith(" edited")
        assert {ids[item["id"]] for item in Queue(UPath(output), "r").items} == {4, 6}

        run(config_for(server, data, output, model=ModelConfig(model="m", max_tokens=300)))
        assert {ids[id] for id in outcome(output)[1]} == {
            3,
            4,
            6,
        }  # kept over another configuration


@pytest.mark.slow
def test_spot_checked_translations_stay_unless_a_person_rejects_them(
    ray_cluster: None, tmp_path: Path
) -> None:
    """A share of what was accepted is shown to a person, whose word is counted and applied."""
    data = write_data(tmp_path / "in", 12)
    output = tmp_path / "out"
    with ChatServer(key=KEY) as server:
        config = config_for(server, data, output, spot_check=1.0)
        manifest = run(config)
        translated, _ = outcome(output)
        queue = Queue(UPath(output), "reader")
        assert {item["id"] for item in queue.items} == set(translated)
        assert {item["reason"] for item in queue.items} == {"spot check"}
        shown = len(translated)
        found = {"shown": shown, "decided": 0, "wrong": 0}
        assert manifest["figures"]["spot_check"] == found
        rejected, accepted = queue.items[0]["id"], queue.items[1]["id"]
        queue.decide(0, "reject", None)
        queue.decide(1, "accept", None)

        manifest = run(config)
        assert manifest["figures"]["spot_check"] == {"shown": shown, "decided": 2, "wrong": 1}
        assert set(outcome(output)[0]) == set(translated) - {rejected}
        left = {item["id"] for item in Queue(UPath(output), "reader").items}
        assert left == set(translated) - {rejected, accepted}
        assert "50.0% (95 % interval 1.3% to 98.7%)" in (output / "report.html").read_text()


def test_a_larger_spot_check_holds_all_of_a_smaller_one() -> None:
    """The share is that of the ids' hashes, and close to what was asked for."""
    ids = [str(number) for number in range(20_000)]
    small = {id for id in ids if in_share(id, 0.01)}
    assert small <= {id for id in ids if in_share(id, 0.02)}
    assert 150 < len(small) < 250
    assert all(in_share(id, 1.0) for id in ids)
    assert not any(in_share(id, 0.0) for id in ids)


def answered_with(text: str) -> Reply:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return Reply(body=json.dumps({"choices": [choice], "usage": {}}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ModelConfig()}, "model.model is not set"),
        ({"endpoint": {"base_url": ""}}, "endpoint.base_url is not set"),
        ({"endpoint": {"actors": 9}}, "endpoint.actors"),
        ({"endpoint": {"key_variable": "NOT_SET_ANYWHERE"}}, "NOT_SET_ANYWHERE"),
    ],
)
def test_a_wrong_configuration_is_one_clear_error(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(config_for(ChatServer(), str(tmp_path), tmp_path / "out", **changes))
