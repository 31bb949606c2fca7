"""Keys: who gets in, how much they may use, and that no key is ever shown."""

import asyncio
import base64
import hashlib
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from doctor_sun.errors import InputError
from doctor_sun.serving.app import Endpoint
from doctor_sun.serving.audit import Exchange
from doctor_sun.serving.guard.keys import (
    ANONYMOUS,
    VARIABLE,
    Caller,
    Keys,
    KeysConfig,
    Limits,
)
from doctor_sun.serving.guard.refusal import Refusal

KEY = "ds-radiology-0123456789abcdef"
OTHER = "ds-cardiology:0123456789=abcdef"
HASH = hashlib.sha256(KEY.encode()).hexdigest()


@pytest.fixture(autouse=True)
def no_keys_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCTOR_SUN_API_KEYS", raising=False)


def loaded(folder: Path, text: str, **settings: Any) -> Keys:
    path = folder / "keys.yaml"
    path.write_text(text, encoding="utf-8")
    return Keys.load(KeysConfig(keys_file=str(path), **settings))


def basic(key: str, user: str = "") -> str:
    return "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()


async def request(keys: Keys, caller: Caller) -> None:
    async with keys.admitted(caller):
        pass


def test_without_keys_everybody_is_let_in_without_limits() -> None:
    keys = Keys.load(KeysConfig(requests_per_minute=1, tokens_per_minute=1, concurrent=1))
    assert keys.open
    assert keys.caller(None) is keys.caller("Bearer x") is ANONYMOUS

    async def run() -> None:
        for _ in range(3):
            await request(keys, ANONYMOUS)
            await keys.spend(ANONYMOUS, 10**9)

    asyncio.run(run())


@pytest.mark.parametrize(
    "header",
    [
        *(f"Bearer {KEY}", f"bearer {KEY}", f"BEARER   {KEY} ", f" Bearer {KEY}"),
        *(basic(KEY), basic(KEY, "dr. sun"), basic(KEY).replace("Basic", "basic  ")),
    ],
)
def test_a_key_is_taken_in_both_forms(tmp_path: Path, header: str) -> None:
    keys = loaded(tmp_path, f"radiology: {KEY}\ncardiology: '{OTHER}'\n")
    assert not keys.open
    assert keys.caller(header).name == "radiology"
    assert keys.caller(f"Bearer {OTHER}").name == keys.caller(basic(OTHER)).name == "cardiology"


WRONG = [
    *(None, "", " ", "Bearer", "Bearer ", "Basic", "Basic ", KEY, f"Token {KEY}", f"Bearer:{KEY}"),
    *(f"Bearer {KEY[:-1]}", f"Bearer {KEY}x", f"Bearer {KEY.upper()}", f"Bearer {KEY} {KEY}"),
    *(f"Bearer {KEY},{KEY}", f"Bearer '{KEY}'", f"Bearer {HASH}", f"Bearer {KEY}\x00", "Bearer é"),
    *(
        f"Basic {KEY}",
        "Basic !!!!",
        basic(KEY).replace("Om", "O!m"),
        "Basic é",
        "Basic /w==",
        "Basic " + "A" * 10_000,
    ),
    *(basic("wrong"), basic(""), basic("x", KEY), basic(f"{KEY}:"), f"Bearer {basic(KEY)}"),
    *("Basic " + base64.b64encode(KEY.encode()).decode(), "Bearer \ud800"),
]


@pytest.mark.parametrize("header", WRONG)
def test_anything_else_is_refused(tmp_path: Path, header: str | None) -> None:
    keys = loaded(tmp_path, f"radiology: {KEY}\n")
    with pytest.raises(Refusal) as caught:
        keys.caller(header)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert KEY not in f"{caught.value.body()}"
    assert caught.value.body()["error"]["type"] == "authentication_error"


def test_the_sum_of_no_key_lets_nobody_in(tmp_path: Path) -> None:
    nothing = hashlib.sha256(b"").hexdigest()
    keys = loaded(tmp_path, f"radiology: {{sha256: {nothing}}}\n")
    for header in (None, "", "Bearer ", basic("")):
        with pytest.raises(Refusal):
            keys.caller(header)


GUARDED = Keys({hashlib.sha256(KEY.encode()).digest(): Caller(name="a", limits=Limits())})


@given(st.text() | st.builds("{} {}".format, st.sampled_from(["Bearer", "Basic"]), st.text()))
@example(f"Bearer {KEY}")
@example(basic(KEY))
def test_a_header_is_refused_or_holds_the_key(header: str) -> None:
    try:
        caller = GUARDED.caller(header)
    except Refusal:
        return
    scheme, _, rest = header.partition(" ")
    shown = base64.b64decode(rest).decode() if scheme.lower() == "basic" else rest
    assert (caller.name, KEY in shown) == ("a", True)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=16), st.text())
def test_every_key_comes_through_both_forms(key: str, user: str) -> None:
    caller = Caller(name="a", limits=Limits())
    keys = Keys({hashlib.sha256(key.encode()).digest(): caller})
    user = user.encode("utf-8", "replace").decode().replace(":", "")
    assert keys.caller(f"Bearer {key}") is keys.caller(basic(key, user)) is caller


def test_an_entry_has_its_own_limits_or_the_configured_ones(tmp_path: Path) -> None:
    keys = loaded(
        tmp_path,
        f"""
        radiology: {KEY}
        cardiology: {{key: "{OTHER}", requests_per_minute: 7, concurrent: null}}
        """,
        requests_per_minute=100,
        tokens_per_minute=None,
        concurrent=3,
    )
    assert keys.caller(f"Bearer {KEY}").limits == Limits(requests_per_minute=100, concurrent=3)
    assert keys.caller(f"Bearer {OTHER}").limits == Limits(requests_per_minute=7)


def test_a_sum_stands_for_its_key(tmp_path: Path) -> None:
    for digest in (HASH, HASH.upper()):
        keys = loaded(tmp_path, f"radiology: {{sha256: {digest}, tokens_per_minute: 5}}\n")
        assert keys.caller(f"Bearer {KEY}").limits.tokens_per_minute == 5


def test_the_environment_holds_keys_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCTOR_SUN_API_KEYS", f"radiology={KEY}, cardiology={OTHER}")
    keys = Keys.load(KeysConfig(concurrent=2))
    assert keys.caller(f"Bearer {KEY}").name == "radiology"
    assert keys.caller(f"Bearer {OTHER}").name == "cardiology"
    assert keys.caller(f"Bearer {OTHER}").limits.concurrent == 2
    both = loaded(tmp_path, "wards: ds-wards-0123456789abcdef\n")
    assert both.caller(f"Bearer {KEY}").name == "radiology"
    assert both.caller("Bearer ds-wards-0123456789abcdef").name == "wards"
    with pytest.raises(InputError, match="there twice"):
        loaded(tmp_path, "radiology: ds-wards-0123456789abcdef\n")


BAD_FILES = [
    ("", "holds no key"),
    ("# nothing yet\n", "holds no key"),
    ("{}", "holds no key"),
    (KEY, "mapping"),
    (f"- {KEY}", "mapping"),
    (f"radiology: {KEY}\n  a: [", "near line"),
    (f"radiology: !{KEY} x", "mapping"),
    (f"radiology: *{KEY}", "near line 1"),
    (f"radiology: '{KEY}", "near line"),
    (f"radiology: {KEY}\nday: 2026-13-45", "mapping"),
    (f"radiology: {KEY}\x01", "mapping"),
    ("radiology:", "radiology.*16 or more"),
    ("radiology: ''", "radiology.*16 or more"),
    (f"radiology: {KEY[:15]}", "radiology.*16 or more"),
    ("radiology: 1234567890123456789", "radiology.*quotes"),
    (f"radiology: [{KEY}]", "radiology.*16 or more"),
    (f"radiology: {KEY} x", "radiology.*without spaces"),
    ("radiology: ключ-ключ-ключ-ключ", "radiology.*ASCII"),
    ("radiology: {}", "radiology.*16 or more"),
    (f"radiology: {{sha256: {HASH[:-1]}}}", "radiology.*hexadecimal"),
    (f"radiology: {{sha256: {HASH}, key: {KEY}}}", "radiology.*or its sha256"),
    (f"radiology: {{key: {KEY}, request_per_minute: 5}}", "request_per_minute.*nearest.*'requests"),
    (f"radiology: {{kay: {KEY}}}", "unknown key 'kay'.*radiology.*'key'"),
    (f"radiology: {{{KEY}: key}}", "radiology"),
    (f"radiology: {{{KEY}}}", "radiology"),
    (f"radiology: {{key: {KEY}, 1: 2}}", "radiology"),
    (f"{KEY + KEY}: radiology", "entry 1: a name"),
    (f"on: {KEY}", "entry 1: a name.*quotes"),
    (f"12: {KEY}", "entry 1: a name.*quotes"),
    (f"two words: {KEY}", "entry 1: a name"),
    (f"a: {OTHER}\na/b: {KEY}", "entry 2: a name"),
    (f"a: {KEY}\nb: {KEY}", "entry 2 .b.*twice"),
    (f"a: {KEY}\nb: {{sha256: {HASH}}}", "entry 2 .b.*twice"),
    (f"a: {KEY}\na: '{OTHER}'", "entry 2 .a.*twice"),
    *(
        (f"radiology: {{key: {KEY}, {name}: {value}}}", f"radiology.*{name} must be a whole")
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent")
        for value in ("0", "-1", "1.5", "true", "'5'", "[]", "many")
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD_FILES)
def test_a_wrong_file_is_refused_without_its_keys(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        loaded(tmp_path, text)
    said = f"{caught.value}"
    assert str(tmp_path / "keys.yaml") in said
    assert not any(secret in said for secret in (KEY, KEY[:15], OTHER, HASH[:20], "ключ", "12345"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *[("", "entry 1"), (KEY, "entry 1: give name=key"), (f"={KEY}", "entry 1: a name")],
        *[("a=", "entry 1 .a.: give a key"), ("a=short", "16 or more"), (f"a={KEY},", "entry 2")],
        *[(f"a={KEY},b={KEY}", "twice"), (f"a={KEY},a={OTHER}", "twice")],
    ],
)
def test_a_wrong_variable_is_refused_without_its_keys(
    text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCTOR_SUN_API_KEYS", text)
    with pytest.raises(InputError, match=f"{VARIABLE}.*{message}") as caught:
        Keys.load(KeysConfig())
    assert KEY not in str(caught.value)
    assert "short" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("absent", "binary", "."):
        with pytest.raises(InputError, match="keys file"):
            Keys.load(KeysConfig(keys_file=str(tmp_path / name)))


def test_a_file_that_anybody_may_write_is_refused(tmp_path: Path) -> None:
    loaded(tmp_path, f"radiology: {KEY}\n")
    secret = tmp_path / "keys.yaml"
    link = tmp_path / "link.yaml"  # as Kubernetes mounts a secret
    link.symlink_to(secret)
    for mode in (0o400, 0o600, 0o640, 0o644):
        secret.chmod(mode)
        assert not Keys.load(KeysConfig(keys_file=str(link))).open
    for mode in (0o602, 0o666):
        secret.chmod(mode)
        with pytest.raises(InputError, match="chmod o-w"):
            Keys.load(KeysConfig(keys_file=str(link)))


@pytest.mark.parametrize("value", [0, -1, True, 1.5])
def test_configured_limits_are_checked(value: Any) -> None:
    with pytest.raises(InputError, match="concurrent must be"):
        Keys.load(KeysConfig(concurrent=value))


@pytest.mark.parametrize("storage", ["nowhere://a:secret@b", "secret", "redis://[secret"])
def test_an_unknown_storage_is_refused_without_its_password(storage: str) -> None:
    with pytest.raises(InputError, match="limits_storage") as caught:
        Keys.load(KeysConfig(limits_storage=storage))
    assert "secret" not in str(caught.value)


def test_nothing_in_memory_holds_a_key(tmp_path: Path) -> None:
    keys = loaded(tmp_path, f"radiology: {KEY}\ncardiology: '{OTHER}'\n")
    caller = keys.caller(f"Bearer {KEY}")
    held = f"{keys!r} {vars(keys)!r} {caller!r}"
    assert KEY not in held
    assert OTHER not in held


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "doctor_sun.serving.guard.keys", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("name", ["radiology", "on"])
def test_the_command_makes_a_key_and_its_entry(tmp_path: Path, name: str) -> None:
    made = command(name)
    assert made.returncode == 0
    [key] = re.findall(r"^ds-[\w-]{43}$", made.stdout, re.MULTILINE)
    entry = made.stdout.split("keys file:\n")[1]
    assert key not in entry
    assert list(yaml.safe_load(entry)) == [name]
    assert loaded(tmp_path, entry).caller(f"Bearer {key}").name == name


def test_the_command_refuses_a_wrong_name() -> None:
    refused = command("two words")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: NAME: a name is")


def test_other_machines_are_not_listened_to_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCTOR_SUN_API_KEYS", raising=False)
    keys = Keys.load(KeysConfig())
    keys.check_address("127.0.0.1")
    for host in ("0.0.0.0", "::", "10.0.0.5"):
        with pytest.raises(InputError, match="needs API keys"):
            keys.check_address(host)
    monkeypatch.setenv("DOCTOR_SUN_API_KEYS", "ward=ds-a-key-that-is-long-enough")
    Keys.load(KeysConfig()).check_address("0.0.0.0")


def test_an_engine_keeps_the_prompts_of_each_key_apart() -> None:
    salts = []

    def ask(_: str, body: dict[str, Any], __: object) -> None:
        salts.append(body["cache_salt"])

    parts = dict.fromkeys((field.name for field in fields(Endpoint)), None)
    endpoint = Endpoint(**{**parts, "engines": {"m": ask}})  # type: ignore[arg-type]
    for caller in ("ward-1", "ward-2", "ward-1"):
        exchange = Exchange(request_id="1", route="/", caller=caller, model="m")
        state = SimpleNamespace(exchange=exchange)
        endpoint._answer("chat", {}, SimpleNamespace(state=state, headers={}))  # type: ignore[arg-type]
    assert salts[0] == salts[2] != salts[1]
    assert "ward" not in "".join(salts)
