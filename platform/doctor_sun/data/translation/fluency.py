"""The judge: a second prompt that scores a translation's fluency and adequacy."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from doctor_sun.asking.chat_client import Answer
from doctor_sun.asking.requests import Request
from doctor_sun.data.translation.prompts import ModelConfig, json_object, request

JUDGE = """\
You check translations of medical texts from English into Chinese.
You are given a JSON object with the lists "source" and "translation"; texts of the same position \
belong together.
Score from 1 to 5:
- "fluency": is it the Chinese that a Chinese physician would write? 5 natural, 4 one clumsy word, \
3 understandable but translated word by word, 2 hard to read, 1 not Chinese.
- "adequacy": does it say the same? 5 all of it, 4 a nuance differs, 3 a minor fact differs, 2 a \
clinical fact (finding, number, unit, side, negation, drug, degree, time) differs, 1 something else.
Return only a JSON object {"fluency": N, "adequacy": N}."""


@dataclass(kw_only=True)
class JudgeConfig:
    """Who judges, and what passes."""

    ask: bool = True
    """Whether translations that pass the checks are judged; off accepts them."""

    model: ModelConfig = field(default_factory=lambda: ModelConfig(max_tokens=64))
    """The judging model; without a name the translating one."""

    least_fluency: int = 4
    """A lower score of fluency sends the row to review."""

    least_adequacy: int = 4
    """A lower score of adequacy sends the row to review."""

    def refusals(self, scores: "Scores") -> list[str]:
        """Which scores are too low."""
        low = {"fluency": scores.fluency < self.least_fluency}
        low["adequacy"] = scores.adequacy < self.least_adequacy
        return [name for name, is_low in low.items() if is_low]


def judge_request(
    sources: Sequence[str], translations: Sequence[str], config: ModelConfig
) -> Request:
    """Ask for the scores of a translation."""
    return request(JUDGE, {"source": list(sources), "translation": list(translations)}, config)


@dataclass(frozen=True)
class Scores:
    """A judge's scores, 1 to 5."""

    fluency: int
    adequacy: int


def said_scores(answer: Answer) -> Scores | str:
    """The scores, or the class of the error: nothing but whole numbers from 1 to 5 counts."""
    said = json_object(answer)
    if isinstance(said, str):
        return said
    values = [said.get(name) for name in ("fluency", "adequacy")]
    if not all(type(value) is int and 1 <= value <= 5 for value in values):
        return "no scores"
    return Scores(*values)  # type: ignore[arg-type]
