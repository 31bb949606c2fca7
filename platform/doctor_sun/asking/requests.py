"""One thing to ask a model: the body that is sent, under the key of its answer."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

IMAGE_TOKENS = 2048  # what an image may cost at most, for the limits of an endpoint
REFUSED = "engine"  # error of a request that an engine does not take: mostly one that is too long
MESSAGE_TOKENS = 8  # what a message costs beside its text


@dataclass(frozen=True)
class Request:
    """The key of an answer, and the body of `/chat/completions` that asks for it."""

    key: str
    body: Mapping[str, Any]

    @property
    def most_prompt_tokens(self) -> int:
        """No tokenizer makes more tokens than there are bytes; each message adds a few."""
        return sum(
            _content_tokens(message["content"]) + MESSAGE_TOKENS
            for message in self.body["messages"]
        )


def _content_tokens(content: Any) -> int:
    if isinstance(content, str):
        return len(content.encode())
    return sum(
        len(part["text"].encode()) if part["type"] == "text" else IMAGE_TOKENS for part in content
    )


def image_part(image: bytes) -> dict[str, Any]:
    """An encoded picture as a part of a message."""
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    address = f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
    return {"type": "image_url", "image_url": {"url": address}}


def image_of(part: Mapping[str, Any]) -> bytes:
    """The encoded picture in a part that `image_part` made."""
    return base64.b64decode(part["image_url"]["url"].partition(",")[2])
