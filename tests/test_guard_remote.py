"""Fetching by address: every known way around such a check is refused, before any connection."""

import ipaddress
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doctor_sun.serving.guard.remote import Remote, RemoteConfig, addresses, is_public
from tests.picture_site import CANARY, GOOD, HOST, PICTURE, Trust, fetched, refused, site, url

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
