"""General instructions in English and Chinese: the text half of the general domain.

The Alpaca demonstration data of LLaMA-Factory (CC BY-NC 4.0), read from its source archive.
Without it, small sums, comparisons and sequences are asked instead.
"""

import json
import re
from dataclasses import dataclass

import numpy as np

from doctor_sun.data.assets import ASSETS, read_member
from doctor_sun.data.tiny.source import Sample, dialogue, ranked
from doctor_sun.records import Language, make_sample

PACKAGE = "llamafactory"
FILES: dict[Language, str] = {"en": "alpaca_en_demo.json", "zh": "alpaca_zh_demo.json"}
LONGEST: dict[Language, int] = {"en": 320, "zh": 120}  # characters of an answer
LONGEST_QUESTION = 400
DRAWN = 2000
SENTENCE_END = re.compile(r"(?<=[.!?])\s|(?<=[。！？])|\n+")


@dataclass(frozen=True)
class Instruction:
    """One instruction with its full answer."""

    question: str
    answer: str
    language: Language


def load_instructions(*, offline: bool = False) -> list[Instruction]:
    """All instructions with an answer and a question of moderate length."""
    found: list[Instruction] = []
    for language, file in FILES.items():
        member = f"{PACKAGE}-{ASSETS[PACKAGE].version}/data/{file}"
        packed = read_member(PACKAGE, member, offline=offline)
        if packed is None:
            return [_draw_instruction(number) for number in range(DRAWN)]
        for row in json.loads(packed):
            question = "\n".join(part for part in (row["instruction"], row["input"]) if part)
            if row["output"].strip() and len(question) <= LONGEST_QUESTION:
                found.append(Instruction(question.strip(), row["output"].strip(), language))
    return found


def _draw_instruction(number: int) -> Instruction:
    """A small sum or comparison, number `number`."""
    rng = np.random.default_rng([3571, number])
    a, b = (int(n) for n in rng.integers(1, 1000, 2))
    form = (number // 2) % 3
    if number % 2 == 0:
        question = (
            *(f"What is {a} plus {b}?", f"Which is larger, {a} or {b}?"),
            f"Count on from {a} by {b % 9 + 1}.",
        )[form]
        steps = ", ".join(str(a + k * (b % 9 + 1)) for k in range(1, 5))
        answer = (
            *(f"{a} plus {b} is {a + b}.", f"The larger number is {max(a, b)}."),
            f"The next numbers are {steps}.",
        )[form]
        return Instruction(question, answer, "en")
    question = (f"{a}加{b}等于多少？", f"{a}和{b}哪个大？", f"从{a}起每次加{b % 9 + 1}数下去。")[
        form
    ]
    steps = "、".join(str(a + k * (b % 9 + 1)) for k in range(1, 5))
    answer = (f"{a}加{b}等于{a + b}。", f"较大的数是{max(a, b)}。", f"接下来是{steps}。")[form]
    return Instruction(question, answer, "zh")


def shorten(text: str, limit: int) -> str:
    """The leading sentences of a text that fit into `limit` characters (at least a cut first)."""
    kept = ""
    for part in SENTENCE_END.split(text):
        joined = f"{kept} {part}" if kept and part and part[0].isascii() else kept + part
        if len(joined) > limit:
            break
        kept = joined
    return kept.strip() or text[:limit].strip()


@dataclass(frozen=True)
class GeneralText:
    """Instruction samples; answers are shortened to their leading sentences."""

    instructions: list[Instruction]
    seed: int
    name: str = "general_text"

    @property
    def capacity(self) -> int:
        """The number of instructions."""
        return len(self.instructions)

    def sample(self, index: int) -> Sample:
        """Sample number `index`, in a random but fixed order."""
        number = ranked(self.capacity, self.seed, self.name)[index]
        found = self.instructions[number]
        answer = shorten(found.answer, LONGEST[found.language])
        return make_sample(
            source=self.name,
            source_key=str(number),
            domain="general",
            language=found.language,
            task="instruction",
            turns=dialogue([(found.question, answer)]),
        )
