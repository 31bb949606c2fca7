"""Medical safety: what the model is told, what the user is told, what is not answered at all."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from doctor_sun.errors import InputError
from doctor_sun.records import sha256


@dataclass(kw_only=True)
class RefusalRule:
    """Questions that are answered with a fixed text instead of the model."""

    name: str
    """Short name; metrics and the audit log count by it."""

    pattern: str
    """Regular expression that a text of the user matches, upper and lower case alike."""

    answer: str
    """What is said instead."""


@dataclass(kw_only=True)
class SafetyConfig:
    """What surrounds every answer."""

    system_prompt: str = ""
    """Put before every conversation, ahead of the client's own system message; a model that was
    trained without one answers best without one."""

    disclaimer: str = (
        "Research use only. Not a medical device: answers may be wrong and must not be used to "
        "diagnose or treat anyone."
    )
    """In the header `x-disclaimer` of every answer, and on the chat page; ASCII."""

    disclaimer_zh: str = (
        "仅供研究使用。本系统不是医疗器械：回答可能有误，不得用于诊断或治疗任何人。"
    )
    """The same on the Chinese chat page."""

    rules: list[RefusalRule] = field(default_factory=list)
    """Questions that the model does not get; the first rule that matches answers."""


class Safety:
    """The configured rules, compiled.

    Raises:
        InputError: a pattern is no regular expression, or the disclaimer does not fit a header.
    """

    def __init__(self, config: SafetyConfig) -> None:
        self.config = config
        if not config.disclaimer.isascii() or "\n" in config.disclaimer:
            raise InputError("safety.disclaimer: one line of ASCII, it becomes a header")
        self.rules: Sequence[tuple[re.Pattern[str], RefusalRule]] = [
            (_compiled(rule), rule) for rule in config.rules
        ]

    @cached_property
    def prompt_version(self) -> str:
        """Short hash of what the model is told and of the rules."""
        rules = [f"{rule.name}\0{rule.pattern}\0{rule.answer}" for rule in self.config.rules]
        return sha256("\0".join([self.config.system_prompt, *rules]))[:12]

    def refusal(self, texts: Iterable[str]) -> RefusalRule | None:
        """The rule that one of the user's texts meets."""
        told = list(texts)
        for pattern, rule in self.rules:
            if any(pattern.search(text) for text in told):
                return rule
        return None


def _compiled(rule: RefusalRule) -> re.Pattern[str]:
    try:
        return re.compile(rule.pattern, re.IGNORECASE)
    except re.error as error:
        raise InputError(f"safety.rules: {rule.name}: no regular expression: {error}") from None
