"""Fetching a picture: what comes is bounded in size, time and kind, and from listed hosts only."""

import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doctor_sun.errors import InputError
from doctor_sun.serving.guard.refusal import Refusal
from doctor_sun.serving.guard.remote import Remote, RemoteConfig
from tests.picture_site import (
    CANARY,
    GOOD,
    HOST,
    MAX_BYTES,
    PICTURE,
    Site,
    Trust,
    fetched,
    refused,
    site,
    url,
)


@pytest.mark.parametrize("path", ["/picture", "/until-closed", "/identity", "/picture?a=%2F+b&c"])
def test_a_picture_is_fetched(path: str, trust: Trust) -> None:
    here = site()
    assert fetched(url(path), trust, here) == PICTURE
    [head] = here.requests
    assert head.startswith(f"GET {path} HTTP/1.1\r\nHost: {HOST}:{here.port}\r\n")
    assert "Accept-Encoding: identity\r\n" in head
    assert not {"Cookie", "Authorization", "Referer"} & {
        line.split(":")[0] for line in head.split()
    }


def test_what_fits_is_fetched(trust: Trust) -> None:
    assert fetched(url("/chunked"), trust, site()) == b"abcde"
    assert fetched(url("/at-most"), trust, site()) == bytes(MAX_BYTES)
    assert fetched(f"HTTPS://{HOST.upper()}:{{port}}/picture", trust, site()) == PICTURE
    assert fetched("https://a.wild.example.org:{port}/picture", trust, site()) == PICTURE


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/declared", "remote_bytes"),
        ("/endless", "remote_bytes"),
        ("/lies", "remote_failed"),
        ("/bad-chunks", "remote_failed"),
        ("/bad-length", "remote_failed"),
        ("/two-lengths", "remote_failed"),
        ("/long-header", "remote_failed"),
        ("/many-headers", "remote_failed"),
        ("/gzip", "remote_failed"),
        ("/empty", "remote_failed"),
        ("/no-http", "remote_failed"),
        ("/404", "remote_failed"),
        ("/500", "remote_failed"),
        ("/204", "remote_failed"),
        ("/206", "remote_failed"),
        ("/304", "remote_failed"),
        ("/no-location", "remote_url"),
    ],
)
def test_a_bad_answer_is_refused(path: str, code: str, trust: Trust) -> None:
    assert refused(url(path), trust, site()) == code


@pytest.mark.parametrize("path", ["/slow", "/silent"])
def test_the_whole_fetch_is_timed(path: str, trust: Trust) -> None:
    started = time.monotonic()
    assert refused(url(path), trust, site(), seconds=0.5) == "remote_seconds"
    assert time.monotonic() - started < 5


def test_a_slow_lookup_is_timed(trust: Trust) -> None:
    class Slow(Site):
        def lookup(self, host: str) -> Sequence[str]:
            time.sleep(0.5)
            return [GOOD]

    assert refused(url("/picture"), trust, Slow(), seconds=0.1) == "remote_seconds"


def test_an_unknown_name_is_refused(trust: Trust) -> None:
    class Unknown(Site):
        def lookup(self, host: str) -> Sequence[str]:
            raise socket.gaierror(socket.EAI_NONAME, f"{host} is not known")

    assert refused(url("/picture"), trust, Unknown()) == "remote_failed"


def test_the_certificate_is_checked(trust: Trust) -> None:
    strangers = ssl.create_default_context()
    assert refused(url("/picture"), trust, site(), client=strangers) == "remote_failed"
    other = "other.example.org"
    here = site(names={other: [[GOOD]]})
    hosts = (f"{other}:{{port}}",)
    assert refused(f"https://{other}:{{port}}/picture", trust, here, hosts=hosts) == "remote_failed"
    assert (here.asked, here.requests) == ([other], [])


def test_the_environment_is_of_no_use(
    trust: Trust, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, f"http://{CANARY}:9")
    (tmp_path / "netrc").write_text(f"machine {HOST} login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    here = site()
    assert fetched(url("/picture"), trust, here) == PICTURE
    assert "Authorization" not in here.requests[0]


def test_nothing_is_fetched_unless_hosts_are_listed(trust: Trust) -> None:
    assert RemoteConfig().allowed_hosts == ()
    assert refused(url("/picture"), trust, site(), hosts=()) == "remote_off"


@pytest.mark.parametrize(
    "host",
    [
        *("", "*", "*.", "*.org", "org", "localhost", "127.0.0.1", "*.0.0.1", "[::1]", "::1"),
        *("https://example.org", "example.org/", "a.*.org", "**.example.org", "*example.org"),
        *(
            "example.org:",
            "example.org:x",
            "example.org:0",
            "example.org:65536",
            "b\u00fccher.example",
            "a b.org",
        ),
        *("user@example.org", "example.org.", ".example.org", "example.0x7f", "a\n.example.org"),
    ],
)
def test_a_list_of_hosts_holds_only_names(host: str) -> None:
    with pytest.raises(InputError, match="allowed_hosts"):
        RemoteConfig(allowed_hosts=(HOST, host))


def test_a_list_of_hosts_is_read_without_regard_to_case() -> None:
    config = RemoteConfig(allowed_hosts=("A.Example.org:443", "*.B.org", "c.org:8443"))
    assert config.allowed_hosts == ("a.example.org", "*.b.org", "c.org:8443")


@given(st.text(st.characters(max_codepoint=0x2FFF), max_size=60))
def test_any_text_is_refused_or_names_an_allowed_host(text: str) -> None:
    fetcher = Remote(
        RemoteConfig(allowed_hosts=(HOST, "*.b.org")), tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    for given_text in (text, f"https://{text}", f"https://{HOST}{text}", f"https://{text}.b.org"):
        try:
            checked = fetcher._checked(given_text)
        except Refusal:
            continue
        host = checked.raw_host or ""
        assert host.lower() == HOST or host.lower().endswith(".b.org")
        assert (checked.scheme, checked.port, checked.user) == ("https", 443, None)
