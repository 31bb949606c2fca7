"""Held-out questions about coloured shapes: the tiny preset's benchmark of general ability.

Every item exists in English and Chinese about the same picture. Within a kind every answer is
about equally frequent.
"""

from typing import Any

import pyarrow as pa

from doctor_sun.data.tiny.general_images import (
    WORDS,
    Scene,
    draw_scene,
    other_colour,
    questions,
)
from doctor_sun.data.tiny.phantom import encode
from doctor_sun.data.tiny.source import rng_for
from doctor_sun.records import Language, image_key, sha256

LANGUAGES: tuple[Language, ...] = ("en", "zh")
SCENE = ("colour", "shape", "place")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "question", "answer")),
        ("options", pa.list_(pa.string())),
        ("image", pa.binary()),
        *((name, pa.string()) for name in ("image_key", "language", "kind", "finding")),
    ]
)


def rows(items: int, image_size: int, seed: int) -> list[dict[str, Any]]:
    """About `items` rows: each kind's share, both languages per picture."""
    pictures = round(items / len(LANGUAGES) / len(WORDS))
    return [
        row
        for kind in WORDS
        for number in range(pictures)
        for row in _pair(kind, number, image_size, seed)
    ]


def _pair(kind: str, number: int, image_size: int, seed: int) -> list[dict[str, Any]]:
    """One picture with one question of a kind, in each language."""
    rng = rng_for(seed, f"shapes benchmark {kind}", number)
    shown = {part: str(rng.choice(list(WORDS[part]))) for part in SCENE}
    if kind in SCENE:  # answers take turns
        shown[kind] = list(WORDS[kind])[number % len(WORDS[kind])]
    scene = Scene(**shown)
    encoded = encode(draw_scene(scene, image_size, rng))
    asked = scene.colour if number % 2 == 0 else other_colour(scene, rng)
    key = image_key(encoded)
    found = []
    for language in LANGUAGES:
        question, answer = questions(scene, language, asked)[kind]
        found.append(
            {
                "id": sha256("shapes benchmark", key, language, question),
                "question": question,
                "answer": answer,
                "options": [words[language] for words in WORDS[kind].values()],
                "image": encoded,
                "image_key": key,
                "language": language,
                "kind": kind,
                "finding": f"{scene.colour} {scene.shape} {scene.place}",
            }
        )
    return found
