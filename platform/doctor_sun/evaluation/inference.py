"""Questions -> answers: each asked once, stored at once, found again by a later run.

The key of an answer is the hash of what decides it: model, prompt, worked examples, image and
decoding. A model folder is asked through vLLM engines in Ray Data actors, an endpoint through a
fixed number of actors that keep its limits (`doctor_sun.asking`).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from upath import UPath

from doctor_sun.asking.answers import KEY_TYPE, AnswerIndex, answer_key
from doctor_sun.asking.requests import Request, image_part
from doctor_sun.cluster import connect
from doctor_sun.evaluation.tasks import Item
from doctor_sun.records import sha256

if TYPE_CHECKING:
    from doctor_sun.asking.asker import Ask


@dataclass(kw_only=True)
class DecodingConfig:
    """How answers are decoded."""

    max_tokens: int | None = None
    """Longest answer, in tokens; none takes what each benchmark's publisher uses."""

    temperature: float = 0.0
    """0 decodes greedily, so that a score can be had again; the paper's own script samples at
    0.1."""

    batch: int = 64
    """Questions that are sent to an engine or an endpoint's actor at a time."""

    replicas: int = 1
    """Engines that answer side by side."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question to the model, with its own image or another's."""

    key: str
    item: Item
    image: bytes | None
    model: str
    """The model's name in the request."""
    max_tokens: int
    temperature: float

    @classmethod
    def of(
        cls,
        item: Item,
        shown: Item,
        *,
        model: str,
        identity: str,
        max_tokens: int,
        temperature: float,
    ) -> "Question":
        """Ask an item with the image of another.

        Args:
            item: the question.
            shown: whose image is shown, mostly its own.
            model: the model's name in the request.
            identity: what else decides an answer: the weights' hash and type, or the endpoint.
            max_tokens: longest answer.
            temperature: of the sampling.
        """
        asked = json.dumps([item.prompt or item.question, item.shots], ensure_ascii=False)
        decoding = f"{temperature} {max_tokens}"
        key = answer_key(identity, sha256(asked), shown.image_key, decoding)
        return cls(
            key=key,
            item=item,
            image=shown.image,
            model=model,
            max_tokens=max_tokens,
            temperature=temperature,
        )

    def request(self) -> Request:
        """The request: worked examples as earlier turns, then the image and the prompt."""
        text = self.item.prompt or self.item.question
        content: Any = text
        if self.image is not None:
            content = [image_part(self.image), {"type": "text", "text": text}]
        messages = [
            {"role": role, "content": said}
            for shot in self.item.shots
            for role, said in zip(("user", "assistant"), shot, strict=True)
        ]
        body = {
            "model": self.model,
            "messages": [*messages, {"role": "user", "content": content}],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        return Request(self.key, body)


@dataclass(frozen=True)
class Answered:
    """What became of some questions."""

    texts: Mapping[str, str]
    """Answers by key, those that there are."""

    errors: Mapping[str, str]
    """Classes of error by key, of what got no answer."""

    asked: int
    """How many had to be asked now."""


def answer_all(
    questions: Iterable[Question],
    asker: "Callable[[], Ask]",
    *,
    folder: UPath,
    batch: int,
    address: str | None,
    say: Callable[[str], None],
) -> Answered:
    """The answer of every question, asked now or before.

    Args:
        questions: those of one key are asked once.
        asker: makes what asks a model, once the cluster is joined.
        folder: where answers are stored as they come, and found again.
        batch: questions that are asked together.
        address: the Ray cluster; only joined when something is left to ask.
        say: prints one line of progress.

    Raises:
        InputError: the endpoint cannot work at all, or the budget is spent.
    """
    from doctor_sun.asking.asker import follow

    wanted = {question.key: question for question in questions}
    keys = np.array(list(wanted), KEY_TYPE)
    there = AnswerIndex.of(folder).find(keys) >= 0
    missing = [
        question for question, found in zip(wanted.values(), there, strict=True) if not found
    ]
    if len(missing) < len(wanted):
        say(f"{len(wanted) - len(missing)} of {len(wanted)} answers are already there")
    errors: Mapping[str, str] = {}
    if missing:
        with connect(address):
            errors = follow(asker()(_dataset(missing, batch)), len(missing), say)
    found = AnswerIndex.of(folder).places(keys).read()
    texts = {key: found[key].text.strip() for key in wanted if key in found}
    return Answered(texts, errors, len(missing))


def _dataset(questions: Sequence[Question], batch: int) -> Any:
    """Rows of `ASKS`, a block a batch; each block goes to the object store as it is made."""
    import ray
    import ray.data

    from doctor_sun.asking.asker import ASKS

    blocks = []
    for start in range(0, len(questions), batch):
        requests = [question.request() for question in questions[start : start + batch]]
        rows = [
            {
                "key": request.key,
                "body": json.dumps(request.body, ensure_ascii=False),
                "most_prompt": request.most_prompt_tokens,
                "most_completion": request.body["max_tokens"],
            }
            for request in requests
        ]
        blocks.append(ray.put(pa.Table.from_pylist(rows, schema=ASKS)))
    return ray.data.from_arrow_refs(blocks)
