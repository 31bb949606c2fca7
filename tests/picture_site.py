"""A site of pictures with a name, a certificate and a canary, and a fetch from it."""

import asyncio
import datetime
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from doctor_sun.serving.guard.refusal import Refusal
from doctor_sun.serving.guard.remote import Remote, RemoteConfig, is_public

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


def make_trust(folder: Path) -> Trust:
    """A new authority; the folder holds what the server is started with."""
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
