"""Coloured shapes with captions and questions: the picture half of the general domain."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from doctor_sun.data.tiny.phantom import encode
from doctor_sun.data.tiny.source import Sample, dialogue, rng_for, seed_for
from doctor_sun.records import Language, make_sample

COLOURS = {
    "red": ((205, 40, 40), "红色"),
    "green": ((40, 160, 60), "绿色"),
    "blue": ((40, 70, 200), "蓝色"),
    "yellow": ((235, 210, 50), "黄色"),
    "purple": ((140, 50, 160), "紫色"),
    "orange": ((240, 140, 30), "橙色"),
}
SHAPES = {"circle": "圆形", "square": "正方形", "triangle": "三角形", "cross": "十字形"}
PLACES = {"left": ("左边", (0.3, 0.5)), "right": ("右边", (0.7, 0.5))}
PLACES |= {"top": ("上边", (0.5, 0.3)), "bottom": ("下边", (0.5, 0.7))}


WORDS = {
    "colour": {name: {"en": name, "zh": chinese} for name, (_, chinese) in COLOURS.items()},
    "shape": {name: {"en": name, "zh": chinese} for name, chinese in SHAPES.items()},
    "place": {name: {"en": name, "zh": chinese} for name, (chinese, _) in PLACES.items()},
    "yes_no": {"yes": {"en": "yes", "zh": "是"}, "no": {"en": "no", "zh": "否"}},
}
"""The answers to each kind of question, in both languages."""


@dataclass(frozen=True)
class Scene:
    """One coloured shape somewhere in the picture."""

    colour: str
    shape: str
    place: str


SCENES = tuple(Scene(*parts) for parts in product(COLOURS, SHAPES, PLACES))


def draw_scene(scene: Scene, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """[size, size, 3] picture of a scene, its place, size and colour varied."""
    background = int(rng.integers(200, 250))
    image = Image.new("RGB", (4 * size, 4 * size), (background,) * 3)  # drawn large for soft edges
    centre = np.array(PLACES[scene.place][1]) + rng.uniform(-0.06, 0.06, 2)
    x, y = centre * 4 * size
    r = rng.uniform(0.14, 0.2) * 4 * size
    colour = tuple(int(c) for c in np.array(COLOURS[scene.colour][0]) + rng.integers(-15, 16, 3))
    pen = ImageDraw.Draw(image)
    if scene.shape == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif scene.shape == "square":
        pen.rectangle((x - 0.9 * r, y - 0.9 * r, x + 0.9 * r, y + 0.9 * r), fill=colour)
    elif scene.shape == "triangle":
        pen.polygon([(x, y - r), (x - r, y + 0.8 * r), (x + r, y + 0.8 * r)], fill=colour)
    else:
        pen.rectangle((x - r, y - 0.3 * r, x + r, y + 0.3 * r), fill=colour)
        pen.rectangle((x - 0.3 * r, y - r, x + 0.3 * r, y + r), fill=colour)
    small = np.asarray(image.resize((size, size), Image.Resampling.BOX), dtype=np.float32)
    noisy = small + rng.normal(0, 6, small.shape)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)


def caption(scene: Scene, language: Language, rng: np.random.Generator) -> str:
    """One sentence that names colour, shape and place."""
    form = int(rng.integers(2))
    if language == "en":
        noun = f"{scene.colour} {scene.shape}"
        article = "An" if scene.colour[0] in "aeiou" else "A"
        place = f"{'on' if scene.place in ('left', 'right') else 'at'} the {scene.place}"
        return (f"{article} {noun} {place}.", f"The image shows a {noun} {place}.")[form]
    colour, shape = COLOURS[scene.colour][1], SHAPES[scene.shape]
    place = PLACES[scene.place][0]
    return (f"{place}有一个{colour}的{shape}。", f"图像显示{colour}的{shape}，位于{place}。")[form]


def other_colour(scene: Scene, rng: np.random.Generator) -> str:
    """A colour that the scene does not show."""
    others = [colour for colour in COLOURS if colour != scene.colour]
    return others[rng.integers(len(others))]


def questions(scene: Scene, language: Language, asked: str) -> dict[str, tuple[str, str]]:
    """Question and answer by kind: colour, shape, place, and whether it is of the asked colour."""
    true = {"colour": scene.colour, "shape": scene.shape, "place": scene.place}
    true["yes_no"] = "yes" if asked == scene.colour else "no"
    asks = {
        "en": ("What colour is the shape?", "What shape is in the image?", "Where is the shape?"),
        "zh": ("图形是什么颜色？", "图像中是什么形状？", "图形在哪里？"),
    }[language]
    named = WORDS["colour"][asked][language]
    closed = f"Is the shape {named}?" if language == "en" else f"图形是{named}的吗？"
    return {
        kind: (question, WORDS[kind][true[kind]][language])
        for kind, question in zip(WORDS, (*asks, closed), strict=True)
    }


@dataclass(frozen=True)
class GeneralImages:
    """Shape pictures with a caption (`general_captions`) or questions (`general_vqa`)."""

    name: str
    image_size: int
    seed: int
    capacity: None = None

    def sample(self, index: int) -> Sample:
        """Sample number `index`; languages alternate by index."""
        language: Language = "en" if index % 2 == 0 else "zh"
        rng = np.random.default_rng(seed_for(self.seed, self.name, index))
        scene = SCENES[rng.integers(len(SCENES))]
        picture = draw_scene(scene, self.image_size, rng)
        if self.name == "general_captions":
            question = "Describe this image." if language == "en" else "描述这张图像。"
            exchanges = [(question, caption(scene, language, rng))]
        else:
            true = bool(rng.integers(2))  # yes and no are answers equally often
            colour = scene.colour if true else other_colour(scene, rng)
            asked = list(questions(scene, language, colour).values())
            exchanges = [asked[i] for i in rng.permutation(len(asked))[:3]]
        return make_sample(
            source=self.name,
            source_key=str(index),
            domain="general",
            language=language,
            task="caption" if self.name == "general_captions" else "vqa",
            turns=dialogue(exchanges, image=True),
            images=[encode(picture)],
        )


def plain_caption(number: int, seed: int) -> tuple[str, Language]:
    """A caption without its picture, for pre-training."""
    rng = rng_for(seed, "plain shape captions", number)
    language: Language = "en" if number % 2 == 0 else "zh"
    return caption(SCENES[rng.integers(len(SCENES))], language, rng), language
