"""What a model is asked for a translation, and what counts as an answer."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from doctor_sun.asking.answers import answer_key
from doctor_sun.asking.chat_client import Answer
from doctor_sun.asking.requests import Request
from doctor_sun.records import sha256

TRANSLATE = """\
You are a medical translator. Translate English into simplified Chinese as it is written in \
Chinese hospitals and textbooks.
You are given a JSON object. "segments" holds the texts of one conversation in order; later texts \
may answer earlier ones. "terms", where present, holds required translations of terms.
Rules:
- Keep every number with its unit, every side (left, right, bilateral), every negation and every \
degree exactly. Add nothing, explain nothing, leave nothing out, answer no question.
- Keep abbreviations (CT, MRI, T2), Latin names and codes as they are.
- Translate equal texts equally. Translate the answer option, not its meaning.
Return only a JSON object {"segments": [...]} with exactly as many texts, in the same order."""

FENCE = re.compile(r"^\s*```(?:json)?\s*(.*?)\s*```\s*$", re.DOTALL)


@dataclass(kw_only=True)
class ModelConfig:
    """A model and how it decodes."""

    model: str = ""
    """Its name at the endpoint; with `local` only a label in the provenance."""

    temperature: float = 0.0
    """0 decodes greedily."""

    max_tokens: int = 2048
    """Longest answer; one that reaches it is not accepted."""

    json_mode: bool = True
    """Ask the endpoint for a JSON object (`response_format`); off for one that does not know it."""


def prompt_hash(prompt: str) -> str:
    """What provenance keeps of a prompt."""
    return sha256(prompt)[:12]


def request(prompt: str, content: Mapping[str, Any], config: ModelConfig) -> Request:
    """A request: the prompt as system message, the content as JSON."""
    asked = json.dumps(content, ensure_ascii=False)
    body: dict[str, Any] = {
        "model": config.model,
        "messages": [{"role": "system", "content": prompt}, {"role": "user", "content": asked}],
        "temperature": config.temperature,
        "max_tokens": config.max_tokens,
    }
    if config.json_mode:
        body["response_format"] = {"type": "json_object"}
    decoding = json.dumps({k: v for k, v in body.items() if k not in ("model", "messages")})
    return Request(answer_key(config.model, sha256(prompt), decoding, asked), body)


def translation_request(
    segments: Sequence[str], terms: Mapping[str, str], config: ModelConfig
) -> Request:
    """Ask for the translations of a conversation's texts."""
    content = {"segments": list(segments)} | ({"terms": dict(terms)} if terms else {})
    return request(TRANSLATE, content, config)


def json_object(answer: Answer) -> Mapping[str, Any] | str:
    """The JSON object that was said, or the class of the error."""
    if answer.finish == "length":
        return "cut at max_tokens"
    if answer.finish == "content_filter":
        return "content filter"
    fenced = FENCE.match(answer.text)
    try:
        said = json.loads(fenced[1] if fenced else answer.text)
    except ValueError:
        return "not JSON"
    return said if isinstance(said, Mapping) else "not JSON"


def said_translations(answer: Answer, count: int) -> list[str] | str:
    """The translated texts, or the class of the error."""
    said = json_object(answer)
    if isinstance(said, str):
        return said
    texts = said.get("segments")
    if not isinstance(texts, list) or not all(isinstance(t, str) and t.strip() for t in texts):
        return "not JSON"
    return [t.strip() for t in texts] if len(texts) == count else "other number of texts"
