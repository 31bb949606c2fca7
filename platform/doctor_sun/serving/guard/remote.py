"""Fetching a picture that a request names by its address; off unless hosts are listed.

A server that fetches what strangers name can be made to read what only it can reach. So: https
only, hosts from a list, public addresses only, and the connection goes to the very address that was
checked, which leaves nothing to a second DNS answer. Every redirect is checked like the first URL.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from doctor_sun.errors import InputError
from doctor_sun.serving.guard.refusal import Refusal

# No "@", backslash, bracket, space or control character: nothing that parsers disagree on.
CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#!$&'()*+,;=%-]{1,4096}")
# A host by name, of two labels or more; the last begins with a letter, so no form of IP address is
# one. aiohttp would connect to an IP address without asking its resolver, which is where we check.
HOST = re.compile(
    r"(?=[^:]{1,253}(?::|$))(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+"
    r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])(?::[1-9][0-9]{0,4})?"
)
REDIRECTS = (301, 302, 303, 307, 308)
HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "doctor-sun"}

GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
"""All that IPv6 has assigned to hosts; without site-local, NAT64 and IPv4-mapped addresses."""

NOT_PUBLIC = [
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # Azure's host, behind an address that is otherwise public
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "2001::/23",  # Teredo, ORCHID and other protocols
        "2002::/16",  # 6to4, which holds an IPv4 address
        "3fff::/20",  # documentation
    )
]
"""What `is_global` lets through in one of the Python versions that we run on."""

# Not 5xx where the fetch fails: a client's choice of address is no fault of this endpoint.
REFUSALS = {
    "remote_off": (400, "pictures are not fetched by address here: send a data: URL"),
    "remote_url": (
        400,
        "the address of a picture, and whatever it redirects to, must be https://HOST/PATH in "
        "ASCII, percent-encoded, without user name, of 4096 characters at most",
    ),
    "remote_host": (403, "the picture's host is not one that pictures are fetched from"),
    "remote_address": (403, "the picture's host has an address that is not public"),
    "remote_redirects": (422, "the picture's address redirects more than {limit} times"),
    "remote_bytes": (413, "the picture has more than {limit} bytes"),
    "remote_seconds": (422, "the picture did not arrive within {limit} seconds"),
    "remote_failed": (
        422,
        "the picture could not be fetched: its host must answer with status 200, a valid "
        "certificate and no content encoding",
    ),
}
"""Status and message by code."""


def _refusal(code: str, limit: float | None = None) -> Refusal:
    status, message = REFUSALS[code]
    return Refusal(status, code, message.format(limit=limit), param="image_url")


@dataclass(kw_only=True)
class RemoteConfig:
    """Pictures that are fetched by address, and from where."""

    allowed_hosts: tuple[str, ...] = ()
    """Hosts that pictures may be fetched from: `pictures.example.org`, `*.example.org` (any name
    below it), `example.org:8443` (that port only, else 443); empty switches fetching off."""

    max_redirects: int = 3
    """Redirects that are followed."""

    seconds: float = 10
    """What a fetch may take, from the name's lookup to the last byte."""

    def __post_init__(self) -> None:
        hosts = [host.lower() for host in self.allowed_hosts]
        for host in hosts:
            port = host.partition(":")[2]
            if not HOST.fullmatch(host.removeprefix("*.")) or int(port or 443) > 65535:
                raise InputError(
                    f"allowed_hosts: {host!r} is not a host name such as pictures.example.org, "
                    "*.example.org or example.org:8443"
                )
        self.allowed_hosts = tuple(host.removesuffix(":443") for host in hosts)


def is_public(address: str) -> bool:
    """Whether an IP address (text, without a zone) is one of the public internet's hosts."""
    known = ipaddress.ip_address(address)
    if known.version == 6 and known not in GLOBAL_UNICAST:
        return False
    return known.is_global and not any(known in network for network in NOT_PUBLIC)


def addresses(host: str) -> list[str]:
    """Every IP address that the system finds for a name; blocks.

    Raises:
        OSError: it finds none.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(address[0]) for *_, address in found]


class _CheckedResolver(AbstractResolver):
    """Gives aiohttp the addresses to connect to, all of them checked, or refuses."""

    def __init__(
        self,
        lookup: Callable[[str], Sequence[str]],
        is_public: Callable[[str], bool],
        threads: ThreadPoolExecutor,
    ) -> None:
        self.lookup, self.is_public, self.threads = lookup, is_public, threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self.threads, self.lookup, host)
        if not found or not all(map(self.is_public, found)):
            raise _refusal("remote_address")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        pass


class Remote:
    """Fetches pictures from the listed hosts.

    Args:
        config: the hosts and limits.
        lookup: the addresses of a name; blocks.
        is_public: whether an address may be connected to.
        tls: whose certificates are trusted; None takes the system's authorities.
    """

    def __init__(
        self,
        config: RemoteConfig,
        *,
        lookup: Callable[[str], Sequence[str]] = addresses,
        is_public: Callable[[str], bool] = is_public,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.config = config
        self.tls = tls or ssl.create_default_context()
        # Threads of their own: a slow name server must not hold up the event loop's.
        threads = ThreadPoolExecutor(4, "remote-lookup")
        self.resolver = _CheckedResolver(lookup, is_public, threads)

    async def fetch(self, url: str, max_bytes: int) -> bytes:
        """The picture at an address, of `max_bytes` bytes at most.

        Raises:
            Refusal: fetching is off, the address may not be fetched, or the fetch failed.
        """
        if not self.config.allowed_hosts:
            raise _refusal("remote_off")
        try:
            async with asyncio.timeout(self.config.seconds), self._session() as session:
                return await self._follow(session, self._checked(url), max_bytes)
        except TimeoutError:
            raise _refusal("remote_seconds", self.config.seconds) from None
        except (aiohttp.ClientError, OSError):
            raise _refusal("remote_failed") from None

    async def _follow(self, session: aiohttp.ClientSession, url: URL, max_bytes: int) -> bytes:
        for _ in range(self.config.max_redirects + 1):
            async with session.get(url, allow_redirects=False) as response:
                if response.status not in REDIRECTS:
                    return await _body(response, max_bytes)
                url = self._checked(response.headers.get("Location", ""), base=url)
        raise _refusal("remote_redirects", self.config.max_redirects)

    def _checked(self, text: str, base: URL | None = None) -> URL:
        """The one parse of an address, which aiohttp then connects by; see `fetch` on errors."""
        if not CHARACTERS.fullmatch(text):
            raise _refusal("remote_url")
        url = URL(text, encoded=True)  # as it is: a signed address may not be re-encoded
        url = base.join(url) if base else url
        if url.scheme != "https":
            raise _refusal("remote_url")
        if not self._is_allowed(url.raw_authority.lower()):
            raise _refusal("remote_host")
        return url

    def _is_allowed(self, authority: str) -> bool:
        """Whether a host, as written with its port, is on the list."""
        host = authority.removesuffix(":443")
        return bool(HOST.fullmatch(authority)) and any(
            host.endswith(allowed[1:]) if allowed.startswith("*.") else host == allowed
            for allowed in self.config.allowed_hosts
        )

    def _session(self) -> aiohttp.ClientSession:
        """A session for one fetch: no connection, cookie or name outlives it."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=self.resolver, use_dns_cache=False, force_close=True, ssl=self.tls
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            timeout=aiohttp.ClientTimeout(total=None),  # `fetch` counts
            auto_decompress=False,
            trust_env=False,  # no proxy, no .netrc
        )


async def _body(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The body of a response with status 200, given up at the first byte too many."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if response.status != 200 or encoding.lower() != "identity":
        raise _refusal("remote_failed")
    if (response.content_length or 0) > max_bytes:
        raise _refusal("remote_bytes", max_bytes)
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise _refusal("remote_bytes", max_bytes)
    return bytes(body)
