"""Llama-3's chat format, the loss mask made in the same tokenisation, and the image's place.

The template marks the assistant's words and end-of-turn with `{% generation %}`; the tokenizer
returns that mask together with the ids, so labels can never be misaligned. An image stands as
`<image>` in a turn and takes as many `<image>` tokens as the tower has patches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from doctor_sun.errors import InputError
from doctor_sun.imports import absent
from doctor_sun.local_folders import local_copy
from doctor_sun.records import IMAGE_PLACEHOLDER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORE_INDEX = -100
BEGIN_OF_TEXT = "<|begin_of_text|>"
END_OF_TEXT = "<|end_of_text|>"
START_HEADER = "<|start_header_id|>"
END_HEADER = "<|end_header_id|>"
END_OF_TURN = "<|eot_id|>"
PADDING = "<|finetune_right_pad_id|>"
SPECIAL_TOKENS = (BEGIN_OF_TEXT, END_OF_TEXT, START_HEADER, END_HEADER, END_OF_TURN, PADDING)

LLAMA3_TEMPLATE = (
    "{{ '<|begin_of_text|>' }}"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}"
    "{{ '<|eot_id|>' }}"
    "{% endgeneration %}"
    "{% else %}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}{{ '<image>\n' }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|eot_id|>' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)


class DoesNotFit(ValueError):
    """A conversation that cannot be cut to the length limit; the message is the ledger's reason."""


def prepare_tokenizer(tokenizer: PreTrainedTokenizerBase) -> int:
    """Give a tokenizer the image token, a padding token and the template; the image token's id.

    Tokens that exist are kept: for a Llama-3 tokenizer only `<image>` is added.
    """
    missing = [t for t in (IMAGE_PLACEHOLDER,) if t not in tokenizer.get_vocab()]
    if missing:
        tokenizer.add_special_tokens({"additional_special_tokens": missing})
    if tokenizer.pad_token is None:
        has_padding = PADDING in tokenizer.get_vocab()
        tokenizer.pad_token = PADDING if has_padding else tokenizer.eos_token
    tokenizer.chat_template = LLAMA3_TEMPLATE
    return int(tokenizer.convert_tokens_to_ids(IMAGE_PLACEHOLDER))


def load_tokenizer(llm: str) -> PreTrainedTokenizerBase:
    """The language model's tokenizer with the image token and our chat template.

    Raises:
        InputError: there is no tokenizer at that path or name.
    """
    with absent("sklearn"):  # a second, for a search that nothing here uses
        from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(local_copy(llm, weights=False))
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"language model {llm}: no tokenizer found ({first})") from None
    prepare_tokenizer(tokenizer)
    return tokenizer


def encode(
    turns: Sequence[Mapping[str, str]],
    tokenizer: PreTrainedTokenizerBase,
    image_tokens: int,
    max_length: int,
) -> tuple[list[int], list[int]]:
    """One conversation as token ids and labels, both of the same length.

    Labels equal the ids on the assistant's words and end-of-turn tokens and are `IGNORE_INDEX`
    elsewhere. A conversation that is too long loses its last exchanges, never image tokens.

    Args:
        turns: the conversation; `<image>` marks an image.
        tokenizer: one that `prepare_tokenizer` has seen.
        image_tokens: tokens an image takes (the tower's patches).
        max_length: the most tokens the result may have.

    Raises:
        DoesNotFit: the first exchange alone is too long, or an image stands behind the cut.
    """
    kept = list(turns)
    while True:
        ids, labels = _encode_all(kept, tokenizer, image_tokens)
        if len(ids) <= max_length:
            return ids, labels
        shorter = _without_last_exchange(kept)
        if not shorter:
            raise DoesNotFit(f"{len(ids)} tokens, the limit is {max_length}")
        if any(IMAGE_PLACEHOLDER in t["text"] for t in kept[len(shorter) :]):
            raise DoesNotFit("cutting to the limit would remove an image")
        kept = shorter


def _encode_all(
    turns: Sequence[Mapping[str, str]], tokenizer: PreTrainedTokenizerBase, image_tokens: int
) -> tuple[list[int], list[int]]:
    """Ids and labels of a conversation of any length."""
    places = IMAGE_PLACEHOLDER * image_tokens
    messages = [
        {"role": t["role"], "content": t["text"].replace(IMAGE_PLACEHOLDER, places)} for t in turns
    ]
    encoded: Mapping[str, Any] = tokenizer.apply_chat_template(
        messages,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    ids = list(encoded["input_ids"])
    mask = encoded["assistant_masks"]
    return ids, [i if keep else IGNORE_INDEX for i, keep in zip(ids, mask, strict=True)]


def _without_last_exchange(turns: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The conversation up to the assistant turn before the last one; empty if there is none."""
    ends = [i for i, t in enumerate(turns) if t["role"] == "assistant"]
    return list(turns[: ends[-2] + 1]) if len(ends) > 1 else []
