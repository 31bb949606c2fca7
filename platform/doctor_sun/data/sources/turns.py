"""Conversations made of what publishers ship: captions, questions, chats in several dialects."""

from collections.abc import Mapping, Sequence
from typing import Literal, cast

from doctor_sun.data.sources.record import Broken
from doctor_sun.records import IMAGE_PLACEHOLDER, Language, Turn, sha256

Role = Literal["system", "user", "assistant"]
ROLES: Mapping[str, Role] = {
    **dict.fromkeys(("user", "human", "patient", "question", "问", "患者", "病人", "用户"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model", "bing"), "assistant"),
    **dict.fromkeys(("doctor", "answer", "答", "医生", "大夫", "助手"), "assistant"),
    "system": "system",
}
# Asked in turn, by hash of the key, as LLaVA and Bunny ask for the captions they pretrain on.
CAPTION_REQUESTS: Mapping[Language, tuple[str, ...]] = {
    "en": (
        "Describe this image.",
        "What does this image show?",
        "Write a caption for this image.",
        "Summarise what can be seen here.",
        "Give a short description of the picture.",
        "What is depicted?",
    ),
    "zh": (
        "请描述这张图片。",
        "这张图片显示了什么？",
        "请为这张图片写一段说明。",
        "概括图中可见的内容。",
        "请简要描述该图像。",
        "图中所示为何？",
    ),
}
HAN = ("\u3400", "\u9fff")
MOSTLY = 0.3  # of the letters: Chinese medical text is full of Latin names


def exchange(question: str, answer: str, images: int = 0, system: str = "") -> list[Turn]:
    """One question and its answer; the pictures stand before the question."""
    marks = "".join(f"{IMAGE_PLACEHOLDER}\n" for _ in range(images))
    turns: list[Turn] = [{"role": "system", "text": system}] if system else []
    return [
        *turns,
        {"role": "user", "text": marks + question},
        {"role": "assistant", "text": answer},
    ]


def caption(text: str, key: str, language: Language) -> list[Turn]:
    """A picture and its caption, asked for in one of a few ways that the key chooses."""
    requests = CAPTION_REQUESTS[language]
    return exchange(requests[int(sha256(key)[:8], 16) % len(requests)], text, images=1)


def chat(said: Sequence[tuple[str, str]], images: int, key: str = "") -> list[Turn]:
    """A conversation of (role, text) pairs in any dialect of roles, `<image>` marks in their place:
    on lines of their own at the head of the turn that shows the pictures.

    Raises:
        Broken: an unknown role, an empty turn, turns that do not alternate from user to assistant,
            or marks that do not match the pictures.
    """
    turns = [_turn(role, text, key) for role, text in said]
    spoken = turns[1:] if turns and turns[0]["role"] == "system" else turns
    roles = [turn["role"] for turn in spoken]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise Broken("the turns are not user and assistant in turn", key)
    marks = [turn["text"].count(IMAGE_PLACEHOLDER) for turn in turns]
    if sum(marks) != images:
        raise Broken(f"{sum(marks)} {IMAGE_PLACEHOLDER} marks for {images} images", key)
    if any(count for count, turn in zip(marks, turns, strict=True) if turn["role"] != "user"):
        raise Broken(f"{IMAGE_PLACEHOLDER} stands in a turn that is not the user's", key)
    return turns


def _turn(role: str, text: str, key: str) -> Turn:
    known = ROLES.get(role.strip().lower())
    if known is None:
        raise Broken("a turn of an unknown role", key)
    marks = text.count(IMAGE_PLACEHOLDER)
    words = text.replace(IMAGE_PLACEHOLDER, " ").strip() if marks else text.strip()
    if not words:
        raise Broken("an empty turn", key)
    return {"role": known, "text": f"{IMAGE_PLACEHOLDER}\n" * marks + words}


def language_of(text: str) -> Language:
    """`zh` where Chinese characters are a good part of the letters, else `en`."""
    letters = sum(mark.isalpha() for mark in text)
    chinese = sum(HAN[0] <= mark <= HAN[1] for mark in text)
    return cast(Language, "zh" if letters and chinese / letters >= MOSTLY else "en")
