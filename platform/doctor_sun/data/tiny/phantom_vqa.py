"""Rendered chest radiographs with conversations of several questions, in English or Chinese."""

from dataclasses import dataclass

from doctor_sun.data.tiny.outlines import Outlines
from doctor_sun.data.tiny.phantom import draw_phantom, encode, render
from doctor_sun.data.tiny.phantom_language import ask, kinds_for
from doctor_sun.data.tiny.source import Sample, dialogue, rng_for, seed_for
from doctor_sun.records import Language, make_sample

# Questions about one picture, in turn. More of them teach more from the same picture, but behind an
# earlier answer a later one can be guessed: half of the pictures get one question, of any kind.
# At least half of the others begin, as a reader would, with what the picture shows.
LENGTHS = (1, 1, 2, 3)


@dataclass(frozen=True)
class PhantomQuestions:
    """Conversations on training anatomies; languages alternate by index."""

    outlines: Outlines
    image_size: int
    seed: int
    name: str = "phantom_vqa"
    capacity: None = None

    def sample(self, index: int) -> Sample:
        """Sample number `index`: different kinds of questions, in random order."""
        language: Language = "en" if index % 2 == 0 else "zh"
        phantom = draw_phantom(seed_for(self.seed, self.name, index), self.outlines, "train")
        rng = rng_for(self.seed, self.name, index)
        kinds = list(kinds_for(phantom.cell))
        kinds += ["yes_no"] * (max(LENGTHS) - len(kinds))
        length = LENGTHS[index // 2 % len(LENGTHS)]
        order = [kinds[i] for i in rng.permutation(len(kinds))[:length]]
        if length > 1 and rng.integers(2):
            order = ["abnormality", *[kind for kind in order if kind != "abnormality"]][:length]
        items = [ask(kind, phantom.cell, language, rng) for kind in order]
        exchanges = list({item.question: item.answer for item in items}.items())
        return make_sample(
            source=self.name,
            source_key=str(index),
            domain="medical",
            language=language,
            task="vqa",
            turns=dialogue(exchanges, image=True),
            images=[encode(render(phantom, self.outlines, self.image_size))],
        )
