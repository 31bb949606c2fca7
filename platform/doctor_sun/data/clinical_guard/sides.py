"""What a text says of the left and what of the right, so that an exchange is seen in any order."""

import re
from collections import Counter
from collections.abc import Mapping

Sides = Mapping[str, frozenset[str]]

CLAUSE = re.compile(r"[.;,。;，、\n!?]+(?!\d)|\b(?:and|but|while|with)\b|而|且|并|伴")
LEFT = re.compile(r"\bleft\b|左")
RIGHT = re.compile(r"\bright\b|右")
PART = re.compile(r"[a-z]{3,}|[一-鿿]")


def said_of_sides(text: str) -> Sides:
    """The words of the clauses on the left, and of those on the right; {} when one is missing."""
    said: dict[str, Counter[str]] = {"left": Counter(), "right": Counter()}
    for clause in CLAUSE.split(text):
        left, right = bool(LEFT.search(clause)), bool(RIGHT.search(clause))
        if left != right:
            words = [
                w for w in PART.findall(clause) if w not in ("left", "right", "左", "右", "侧")
            ]
            said["left" if left else "right"].update(words)
    if not (said["left"] and said["right"]):
        return {}
    return {side: frozenset(words) for side, words in said.items()}


def exchanged(a: Sides, b: Sides) -> bool | None:
    """Whether b says of the right what a says of the left, and the reverse; None: cannot tell."""
    if not (a and b):
        return None
    straight = len(a["left"] & b["left"]) + len(a["right"] & b["right"])
    crossed = len(a["left"] & b["right"]) + len(a["right"] & b["left"])
    return None if straight == crossed else crossed > straight
