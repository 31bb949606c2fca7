"""Rendered chest radiographs, each with one caption in English or Chinese."""

from dataclasses import dataclass

from doctor_sun.data.tiny.outlines import Outlines
from doctor_sun.data.tiny.phantom import draw_phantom, encode, render
from doctor_sun.data.tiny.phantom_language import INSTRUCTIONS, caption
from doctor_sun.data.tiny.source import Sample, dialogue, rng_for, seed_for
from doctor_sun.records import Language, make_sample


@dataclass(frozen=True)
class PhantomCaptions:
    """Caption samples on training anatomies; languages alternate by index."""

    outlines: Outlines
    image_size: int
    seed: int
    name: str = "phantom_captions"
    varied: bool = True
    """Vary the wording; contrastive training wants one caption for one meaning."""

    capacity: None = None

    def sample(self, index: int) -> Sample:
        """Sample number `index`."""
        language: Language = "en" if index % 2 == 0 else "zh"
        phantom = draw_phantom(seed_for(self.seed, self.name, index), self.outlines, "train")
        rng = rng_for(self.seed, self.name, index)
        question = INSTRUCTIONS[language][rng.integers(len(INSTRUCTIONS[language]))]
        answer = caption(phantom.cell, language, rng if self.varied else None)
        return make_sample(
            source=self.name,
            source_key=str(index),
            domain="medical",
            language=language,
            task="caption",
            turns=dialogue([(question, answer)], image=True),
            images=[encode(render(phantom, self.outlines, self.image_size))],
        )
