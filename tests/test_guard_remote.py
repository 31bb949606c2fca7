"""Fetching by address: every known way around such a check is refused, before any connection."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from doctor_sun.errors import InputError
from doctor_sun.serving.guard.refusal import Refusal
from doctor_sun.serving.guard.remote import Remote, RemoteConfig, addresses, is_public

HOST = "pictures.example.org"
PICTURE = b"\x89PNG" + bytes(range(256)) * 40
MAX_BYTES = 64 * 1024
GOOD, CANARY = "127.0.0.1", "127.0.0.2"
"""The address that counts as public in these tests, and one where nobody may ever connect."""


def answer(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    headers = {"Location": location, "Content_Length": "0", "Set_Cookie": "a=b; Path=/"}
    return answer(b"", status, **headers)


def whole(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    return answer(body, status, Content_Length=str(len(body)), **headers)


PAGES: dict[str, Sequence[bytes | float]] = {
    "/picture": [whole(PICTURE)],
    "/until-closed": [answer(PICTURE)],
    "/chunked": [answer(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", Transfer_Encoding="chunked")],
    "/at-most": [whole(bytes(MAX_BYTES))],
    "/declared": [answer(b"", Content_Length=str(MAX_BYTES + 1)), 60.0],
    "/endless": [answer(b""), bytes(MAX_BYTES), b"a", 60.0],
    "/lies": [answer(bytes(10), Content_Length="1000")],
    "/gzip": [whole(b"\x1f\x8b" + bytes(100), Content_Encoding="gzip")],
    "/identity": [whole(PICTURE, Content_Encoding="identity")],
    "/slow": [answer(b""), b"a", 0.1, b"a", 0.1, b"a", 0.1, b"a", 0.1, b"a", 0.1, b"a", 60.0],
    "/bad-chunks": [answer(b"x\r\nabc\r\n", Transfer_Encoding="chunked")],
    "/bad-length": [answer(b"abc", Content_Length="-3")],
    "/two-lengths": [answer(b"abc", Content_Length="3", Transfer_Encoding="chunked")],
    "/long-header": [answer(b"", X="a" * 100_000)],
    "/many-headers": [answer(b"", **{f"X{number}": "a" * 1000 for number in range(10_000)})],
    "/silent": [60.0],
    "/empty": [b""],
    "/no-http": [b"220 mail.example.org ESMTP\r\n"],
    "/404": [whole(b"secret page", "404 Not Found")],
    "/500": [whole(b"", "500 Oops")],
    "/204": [answer(b"", "204 No Content")],
    "/206": [whole(PICTURE, "206 Partial Content")],
    "/304": [answer(b"", "304 Not Modified")],
    "/to-picture": [redirect("/picture")],
    "/307": [redirect("picture?size=1", "307 Temporary Redirect")],
    "/to-3": [redirect("/to-2")],
    "/to-2": [redirect("/to-picture")],
    "/to-4": [redirect("/to-3")],
    "/to-itself": [redirect("/to-itself")],
    "/no-location": [answer(b"", "302 Found", Content_Length="0")],
}


@dataclass
class Site:
    """A TLS server that says what `PAGES` holds, a canary beside it, and names for both."""

    names: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    """DNS: from a name to its first, second, ... answer; the last one stays."""
    requests: list[str] = field(default_factory=list)
    """The heads of the requests that came."""
    canary: int = 0
    """Connections that should not have been."""
    asked: list[str] = field(default_factory=list)
    """Names that were looked up."""
    location: str = ""
    """Where any other path redirects to."""
    port: int = 0

    def lookup(self, host: str) -> Sequence[str]:
        answers = self.names.get(host.lower(), [[CANARY]])
        self.asked.append(host)
        return answers[min(self.asked.count(host), len(answers)) - 1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            path = self.requests[-1].split()[1].partition("?")[0]
            for part in PAGES.get(path) or [redirect(self.location)]:
                if isinstance(part, float):
                    await asyncio.sleep(part)
                else:
                    writer.write(part)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def sing(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.canary += 1
        writer.close()


@dataclass(frozen=True)
class Trust:
    """A throw-away authority and the certificates that it signed."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    folder = tmp_path_factory.mktemp("authority")
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "throw-away")])
    names = [x509.DNSName(HOST), x509.DNSName("*.wild.example.org")]
    authority = signed(key, key, issuer, issuer, x509.BasicConstraints(ca=True, path_length=0))
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    leaf = signed(leaf_key, key, subject, issuer, x509.SubjectAlternativeName(names))
    pem = serialization.Encoding.PEM
    private = leaf_key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "leaf.pem").write_bytes(leaf.public_bytes(pem) + private)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "leaf.pem")
    client = ssl.create_default_context(cadata=authority.public_bytes(pem).decode())
    return Trust(server, client)


def signed(
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    subject: x509.Name,
    issuer: x509.Name,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(by, hashes.SHA256())
    )


def fetched(
    url: str,
    trust: Trust,
    site: Site,
    hosts: Sequence[str] = (HOST, f"{HOST}:{{port}}", "*.wild.example.org:{port}"),
    client: ssl.SSLContext | None = None,
    **settings: Any,
) -> bytes:
    """Fetch an address, `{port}` replaced by the site's, while the site and its canary run."""

    async def run() -> bytes:
        server = await asyncio.start_server(site.serve, GOOD, 0, ssl=trust.server)
        site.port = server.sockets[0].getsockname()[1]
        site.location = site.location.replace("{port}", str(site.port))
        canary = await asyncio.start_server(site.sing, CANARY, site.port)
        allowed = tuple(host.replace("{port}", str(site.port)) for host in hosts)
        fetcher = Remote(
            RemoteConfig(allowed_hosts=allowed, **({"seconds": 5} | settings)),
            lookup=site.lookup,
            is_public=lambda address: address == GOOD or is_public(address),
            tls=client or trust.client,
        )
        try:
            return await fetcher.fetch(url.replace("{port}", str(site.port)), MAX_BYTES)
        finally:
            server.close()
            canary.close()

    return asyncio.run(run())


def refused(url: str, trust: Trust, site: Site, **settings: Any) -> str:
    """The code that an address is refused with; nothing of it may be in the error."""
    with pytest.raises(Refusal) as caught:
        fetched(url, trust, site, **settings)
    refusal = caught.value
    assert site.canary == 0
    assert refusal.__cause__ is None
    assert refusal.__suppress_context__ or refusal.__context__ is None
    said = f"{refusal.body()} {refusal!r}"
    for secret in ("example", "127.0.0", "secret", str(site.port)):
        assert secret not in said
    return refusal.code


def site(names: Mapping[str, Sequence[Sequence[str]]] | None = None, location: str = "") -> Site:
    return Site(names or {HOST: [[GOOD]], "a.wild.example.org": [[GOOD]]}, location=location)


def url(path: str) -> str:
    return f"https://{HOST}:{{port}}{path}"


# Every form ends up nowhere: `{port}` is where the site and the canary listen.
FORMS = [
    ("remote_url", "file:///etc/passwd"),
    ("remote_url", f"file://{HOST}/etc/passwd"),
    ("remote_url", "FILE:/etc/passwd"),
    ("remote_url", "/etc/passwd"),
    ("remote_url", "picture.png"),
    ("remote_url", ""),
    ("remote_url", "ftp://pictures.example.org/picture"),
    ("remote_url", "gopher://127.0.0.2:{port}/_GET"),
    ("remote_url", "dict://127.0.0.2:{port}/"),
    ("remote_url", "ws://pictures.example.org:{port}/picture"),
    ("remote_url", "unix:///var/run/docker.sock"),
    ("remote_url", "http+unix://%2Fvar%2Frun%2Fdocker.sock/x"),
    ("remote_url", "data:image/png;base64,AAAA"),
    ("remote_url", "javascript:alert(1)"),
    ("remote_url", "http://pictures.example.org/picture"),
    ("remote_url", "http://pictures.example.org:{port}/picture"),
    ("remote_url", "//pictures.example.org:{port}/picture"),
    ("remote_url", "https+http://pictures.example.org:{port}/picture"),
    ("remote_url", " https://pictures.example.org:{port}/picture"),
    ("remote_url", "https://pictures.example.org:{port}/picture\n"),
    ("remote_url", "https://pictures.example.org:{port}/pic ture"),
    ("remote_url", "https://pictures.example.org:{port}/pic\tture"),
    ("remote_url", "https://pictures.example.org:{port}/\r\nX-A: b"),
    ("remote_url", "ht\ntps://pictures.example.org:{port}/picture"),
    ("remote_url", "https://pictures.example.org\x00.evil.org/"),
    ("remote_url", "https://pictures.example.org\u2028/"),
    ("remote_url", "https://[::1]:{port}/"),
    ("remote_url", "https://[::ffff:127.0.0.2]:{port}/"),
    ("remote_url", "https://[::ffff:7f00:2]:{port}/"),
    ("remote_url", "https://[2002:7f00:2::]:{port}/"),
    ("remote_url", "https://[64:ff9b::7f00:2]:{port}/"),
    ("remote_url", "https://[fe80::1%25eth0]:{port}/"),
    ("remote_url", "https://[::]:{port}/"),
    ("remote_url", "https://[fd00:ec2::254]/latest/meta-data"),
    ("remote_url", "https://[2606:4700::1111]/"),
    ("remote_url", "https://127.0.0.2:{port}\\@pictures.example.org/picture"),
    ("remote_url", "https://pictures.example.org\\@127.0.0.2:{port}/"),
    ("remote_url", "https:\\\\pictures.example.org\\picture"),
    ("remote_url", "https://pictures.example.org:{port}\\picture"),
    ("remote_url", "https://user@pictures.example.org:{port}/picture"),
    ("remote_url", "https://user:word@pictures.example.org:{port}/picture"),
    ("remote_url", "https://pictures.example.org@127.0.0.2:{port}/"),
    ("remote_url", "https://127.0.0.2:{port}#@pictures.example.org/"),
    ("remote_url", "https://127.0.0.2:{port}?@pictures.example.org/"),
    ("remote_url", "https://pictures。example。org:{port}/picture"),
    ("remote_url", "https://ｐｉｃｔｕｒｅｓ.example.org:{port}/picture"),
    ("remote_url", "https://pісtures.example.org:{port}/picture"),
    ("remote_url", "https://①②⑦.⓪.⓪.②:{port}/"),
    ("remote_url", "https://127。0。0。2:{port}/"),
    ("remote_url", "https://pictures.example.org:{port}/\U0001f600"),
    ("remote_url", "https://pictures.example.org:{port}/" + "a" * 4096),
    ("remote_host", "https://pictures.example.org:65536/"),
    ("remote_host", "https://pictures.example.org:{port}:443/"),
    ("remote_host", "https://pictures.example.org:port/"),
    ("remote_host", "https://"),
    ("remote_host", "https:///picture"),
    ("remote_host", "https:pictures.example.org/picture"),
    ("remote_host", "https:/pictures.example.org/picture"),
    ("remote_host", "https://:{port}/"),
    ("remote_host", "https://127.0.0.2:{port}/"),
    ("remote_host", "https://127.0.0.1:{port}/picture"),
    ("remote_host", "https://127.2:{port}/"),
    ("remote_host", "https://2130706434:{port}/"),
    ("remote_host", "https://0x7f000002:{port}/"),
    ("remote_host", "https://0x7f.0.0.0x2:{port}/"),
    ("remote_host", "https://0177.0.0.2:{port}/"),
    ("remote_host", "https://017700000002:{port}/"),
    ("remote_host", "https://0:{port}/"),
    ("remote_host", "https://0.0.0.0:{port}/"),
    ("remote_host", "https://127.0.0.2.:{port}/"),
    ("remote_host", "https://%31%32%37.0.0.2:{port}/"),
    ("remote_host", "https://169.254.169.254/latest/meta-data/"),
    ("remote_host", "https://100.100.100.200/latest/meta-data/"),
    ("remote_host", "https://metadata.google.internal/computeMetadata/v1/"),
    ("remote_host", "https://metadata/"),
    ("remote_host", "https://localhost:{port}/"),
    ("remote_host", "https://LOCALHOST:{port}/"),
    ("remote_host", "https://pictures.localhost:{port}/"),
    ("remote_host", "https://localhost.localdomain:{port}/"),
    ("remote_host", "https://ip6-localhost:{port}/"),
    ("remote_host", "https://kubernetes.default.svc.cluster.local/api"),
    ("remote_host", "https://127.0.0.2.nip.io:{port}/"),
    ("remote_host", "https://pictures.example.org.evil.org:{port}/"),
    ("remote_host", "https://pictures.example.orgevil.org:{port}/"),
    ("remote_host", "https://evilpictures.example.org:{port}/"),
    ("remote_host", "https://evil.pictures.example.org:{port}/"),
    ("remote_host", "https://example.org:{port}/"),
    ("remote_host", "https://wild.example.org:{port}/picture"),
    ("remote_host", "https://.wild.example.org:{port}/picture"),
    ("remote_host", "https://-a.wild.example.org:{port}/picture"),
    ("remote_host", "https://a_b.wild.example.org:{port}/picture"),
    ("remote_host", "https://a..wild.example.org:{port}/picture"),
    ("remote_host", "https://evil.org%2f.wild.example.org:{port}/picture"),
    ("remote_host", "https://evil.org;.wild.example.org:{port}/picture"),
    ("remote_host", "https://" + "a." * 125 + "wild.example.org:{port}/picture"),
    ("remote_host", "https://a.wild.example.org/picture"),
    ("remote_host", "https://evil.org#.wild.example.org:{port}/"),
    ("remote_host", "https://evil.org?.wild.example.org:{port}/"),
    ("remote_host", "https://evil.org/pictures.example.org"),
    ("remote_host", "https://pictures.example.org.:{port}/picture"),
    ("remote_host", "https://pictures.example.org%00.evil.org/"),
    ("remote_host", "https://pictures%2eexample.org:{port}/picture"),
    ("remote_host", "https://xn--pctures-q2a.example.org:{port}/picture"),
    ("remote_host", "https://pictures.example.org:22/"),
    ("remote_host", "https://pictures.example.org:0/"),
    ("remote_host", "https://pictures.example.org:80/"),
    ("remote_host", "https://pictures.example.org:/picture"),
    ("remote_host", "https://pictures.example.org:+{port}/picture"),
    ("remote_host", "https://pictures.example.org:0{port}/picture"),
]


@pytest.mark.parametrize(("code", "form"), FORMS)
def test_a_form_is_refused_before_its_name_is_looked_up(code: str, form: str, trust: Trust) -> None:
    here = site()
    assert refused(form, trust, here) == code
    assert (here.asked, here.requests) == ([], [])


LOCATIONS = [
    ("remote_url", "http://pictures.example.org:{port}/picture"),
    ("remote_url", "http:/picture"),
    ("remote_url", "http:picture"),
    ("remote_url", "file:///etc/passwd"),
    ("remote_url", "ftp://pictures.example.org/picture"),
    ("remote_url", "data:image/png;base64,AAAA"),
    ("remote_url", "//user@pictures.example.org:{port}/picture"),
    ("remote_url", "\\\\127.0.0.2:{port}\\picture"),
    ("remote_url", "/\\127.0.0.2:{port}/picture"),
    ("remote_url", "https://127.0.0.2:{port}\\@pictures.example.org/picture"),
    ("remote_url", "https://[::1]:{port}/"),
    ("remote_url", "/pic ture"),
    ("remote_url", "/bild\u00e4"),
    ("remote_url", ""),
    ("remote_host", "//127.0.0.2:{port}/picture"),
    ("remote_host", "https://127.0.0.2:{port}/picture"),
    ("remote_host", "https://2130706434:{port}/picture"),
    ("remote_host", "https://169.254.169.254/latest/meta-data/"),
    ("remote_host", "https://localhost:{port}/picture"),
    ("remote_host", "https://pictures.example.org:22/picture"),
    ("remote_host", "https://pictures.example.org.evil.org/picture"),
]


@pytest.mark.parametrize(("code", "location"), LOCATIONS)
def test_a_redirect_is_checked_like_the_first_address(
    code: str, location: str, trust: Trust
) -> None:
    here = site(location=location)
    assert refused(url("/moved"), trust, here) == code
    assert (here.asked, len(here.requests)) == ([HOST], 1)


@pytest.mark.parametrize(
    ("path", "requests"),
    [("/to-picture", 2), ("/307", 2), ("/to-3", 4), ("/moved", 2), ("/elsewhere", 2)],
)
def test_redirects_are_followed(path: str, requests: int, trust: Trust) -> None:
    elsewhere = "https://a.wild.example.org:{port}/picture"
    here = site(location="../a/../picture#x" if path == "/moved" else elsewhere)
    assert fetched(url(path), trust, here) == PICTURE
    assert len(here.requests) == len(here.asked) == requests
    assert here.requests[-1].startswith("GET /picture")
    assert "Cookie" not in here.requests[-1]


@pytest.mark.parametrize("path", ["/to-4", "/to-itself"])
def test_redirects_end(path: str, trust: Trust) -> None:
    here = site()
    assert refused(url(path), trust, here) == "remote_redirects"
    assert len(here.requests) == 4
    assert refused(url("/to-picture"), trust, site(), max_redirects=0) == "remote_redirects"


@pytest.mark.parametrize(
    "found",
    [[GOOD, CANARY], [CANARY, GOOD], [GOOD, "::1"], ["::ffff:127.0.0.1", GOOD], [CANARY], []],
)
def test_one_address_that_is_not_public_refuses_the_host(found: list[str], trust: Trust) -> None:
    here = site(names={HOST: [found]})
    assert refused(url("/picture"), trust, here) == "remote_address"
    assert here.requests == []


def test_a_second_answer_of_dns_is_of_no_use(trust: Trust) -> None:
    here = site(names={HOST: [[GOOD], [CANARY]]})
    assert fetched(url("/picture"), trust, here) == PICTURE
    assert here.asked == [HOST]  # what was checked is what was connected to
    here = site(names={HOST: [[GOOD], [CANARY]]})
    assert refused(url("/to-picture"), trust, here) == "remote_address"
    assert len(here.requests) == 1


NOT_PUBLIC = [
    *(
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
    ),
    *(
        "127.255.255.254",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.192",
    ),
    *(
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
    ),
    *("239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *(
        "::",
        "::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:8.8.8.8",
    ),
    *(
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::a00:1",
        "100::1",
        "2001::1",
    ),
    *(
        "2001:0:7f00:1::",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:808:808::1",
    ),
    *(
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ),
]
PUBLIC = [
    *(
        "1.1.1.1",
        "8.8.8.8",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "126.0.0.1",
        "128.0.0.1",
        "172.15.0.1",
        "172.32.0.1",
    ),
    *(
        "192.0.1.1",
        "192.167.0.1",
        "198.17.0.1",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700:4700::1111",
    ),
    *("2001:4860:4860::8888", "2a00:1450::1", "2400:cb00::1"),
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_special_addresses_are_not_public(address: str, trust: Trust) -> None:
    assert not is_public(address)
    here = site(names={HOST: [[address]]})
    if address != GOOD:
        assert refused(url("/picture"), trust, here) == "remote_address"


@pytest.mark.parametrize("address", PUBLIC)
def test_other_addresses_are_public(address: str) -> None:
    assert is_public(address)


@given(st.ip_addresses())
def test_nothing_that_python_knows_as_special_is_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    special = (
        address.is_private,
        address.is_loopback,
        address.is_link_local,
        address.is_reserved,
        address.is_multicast,
        address.is_unspecified,
    )
    assert not (is_public(str(address)) and any(special))


def test_the_defaults_are_the_real_checks() -> None:
    fetcher = Remote(RemoteConfig(allowed_hosts=(HOST,)))
    assert fetcher.resolver.lookup is addresses
    assert fetcher.resolver.is_public is is_public
    assert fetcher.tls.verify_mode is ssl.CERT_REQUIRED
    assert fetcher.tls.check_hostname
    assert {"127.0.0.1"} <= set(addresses("localhost")) <= {"127.0.0.1", "::1"}


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
