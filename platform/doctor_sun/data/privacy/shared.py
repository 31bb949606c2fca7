"""Identifiers whose form is the same in every language."""

import re

from doctor_sun.data.privacy import checks
from doctor_sun.data.privacy.identifier import Rule, Shape, Text

ALONE = r"(?<![\dA-Za-z.\-/_])(?:{})(?![\dA-Za-z_]|[.\-]\d)"


def alone(pattern: str, before: str = r"\dA-Za-z.\-/_") -> re.Pattern[str]:
    """A pattern with nothing before or after it that it could be a part of."""
    return re.compile(rf"(?<![{before}])(?:{pattern})(?![\dA-Za-z_]|[.\-]\d)")


def no_version(text: Text, start: int, end: int) -> bool:
    """Whether four numbers with dots are an address, not a version."""
    return not re.search(r"(?:version|release|build|版本|v)\W{0,2}$", text.lower[:start])


_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_HEX = "[0-9A-Fa-f]{1,4}"
_PROFILES = (
    r"facebook\.com|twitter\.com|x\.com|instagram\.com|linkedin\.com/in|weibo\.com|weibo\.cn"
    r"|zhihu\.com/people|douyin\.com/user|xiaohongshu\.com/user|space\.bilibili\.com|tiktok\.com"
    r"|(?:[\w-]+\.)?(?:wordpress|blogspot|tumblr|livejournal)\.com|github\.com|t\.me"
    r"|douban\.com/people"
    r"|caringbridge\.org|gofundme\.com|researchgate\.net/profile|blog\.sina\.com\.cn"
    r"|haodf\.com/doctor"
)

RULES: tuple[Rule, ...] = (
    Shape(
        "EMAIL",
        re.compile(
            r"(?<![A-Za-z0-9_.+%-])[A-Za-z0-9_+%](?:[A-Za-z0-9._%+-]*[A-Za-z0-9_+%-])?"
            r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}"
        ),
        holds="@",
    ),
    Shape("IP", alone(rf"(?:{_OCTET}\.){{3}}{_OCTET}"), no_version, digits=4, holds="."),
    Shape(
        "IP",
        re.compile(
            rf"(?<![\w:])(?:(?:{_HEX}:){{7}}{_HEX}|(?:{_HEX}:){{2,6}}(?::{_HEX}){{1,5}})(?![\w:])"
        ),
        digits=4,
        holds=":",
    ),
    Shape(
        "URL",
        re.compile(
            rf"(?:https?://)?(?:[a-z]{{1,8}}\.)?(?:{_PROFILES})/[\w~@%./?=&-]*[\w/]", re.I | re.A
        ),
    ),
    Shape(
        "ID_NUMBER",
        alone(r"[1-9]\d{5}[ -]?\d{8}[ -]?\d{3}[\dXx]|[1-9]\d{14}"),
        checks.resident_id,
        digits=15,
    ),
    Shape(
        "CARD_NUMBER",
        alone(r"\d{4}(?:[ -]?\d{4}){2,3}(?:[ -]?\d{1,4})?|3[47]\d{2}[ -]?\d{6}[ -]?\d{5}"),
        checks.card,
        digits=15,
    ),
)
