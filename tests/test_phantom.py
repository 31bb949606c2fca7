"""Rendered radiographs: the same index gives the same pixels, and the truth is in the picture."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doctor_sun.data.tiny.outlines import Outlines, draw_outlines, load_outlines, separate_lungs
from doctor_sun.data.tiny.phantom import (
    HELD_OUT_CELLS,
    TRAINED_CELLS,
    ZONES,
    Cell,
    Phantom,
    all_cells,
    draw_phantom,
    encode,
    render,
)
from doctor_sun.data.tiny.phantom_language import KINDS, WORDS, ask, caption, kinds_for, options_of
from doctor_sun.records import image_key


@pytest.fixture(scope="module")
def outlines() -> Outlines:
    return draw_outlines(60)


def test_splits_share_no_anatomy(outlines: Outlines) -> None:
    splits = [set(outlines.of_split(name)) for name in ("train", "validation", "test")]
    assert all(splits)
    assert sum(map(len, splits)) == len(outlines.names) == len(set.union(*splits))


def test_real_outlines_have_two_lungs_on_their_sides() -> None:
    real = load_outlines()
    if not real.real:
        pytest.skip("the package with real outlines is not available here")
    assert 400 <= len(real.names) <= 517
    columns = np.arange(real.lungs.shape[-1])
    for right, left in real.lungs[::40].astype(float):
        assert (right.sum(0) * columns).sum() / right.sum() < (left.sum(0) * columns).sum() / (
            left.sum()
        )


def test_an_outline_with_one_lung_is_refused() -> None:
    mask = np.zeros((64, 64))
    mask[10:50, 5:30] = 1
    assert separate_lungs(mask) is None


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["train", "validation", "test"]))
def test_equal_seeds_give_equal_pixels(index: int, split: str) -> None:
    shapes = draw_outlines(20)
    one = draw_phantom((0, 1, index), shapes, split)
    two = draw_phantom((0, 1, index), shapes, split)
    assert one == two
    assert one.cell not in HELD_OUT_CELLS
    assert one.anatomy in shapes.of_split(split)
    assert image_key(encode(render(one, shapes, 64))) == image_key(
        encode(render(two, shapes, 64), compress_level=1)
    )


@pytest.mark.parametrize("finding", ["nodule", "consolidation", "pleural effusion", "pneumothorax"])
def test_a_finding_changes_its_own_lung(outlines: Outlines, finding: str) -> None:
    for cell in (c for c in all_cells() if c.finding == finding):
        for anatomy in range(0, 12, 3):
            with_it = render(Phantom(cell, anatomy, (5, anatomy)), outlines, 64).astype(float)
            without = render(Phantom(Cell("normal"), anatomy, (5, anatomy)), outlines, 64)
            changed = np.abs(with_it - without) > 60
            rows, columns = np.nonzero(changed)
            assert len(rows) >= 12, (cell, anatomy)
            assert (np.median(columns) > 32) == (cell.side == "left"), (cell, anatomy)
            if finding in ("nodule", "consolidation"):
                third = (np.median(rows) / 64 - 0.08) / 0.8 * 3
                assert abs(third - (ZONES.index(cell.zone) + 0.5)) < 0.9, (cell, anatomy)


def test_cells() -> None:
    assert len(list(all_cells())) == 18
    assert set(HELD_OUT_CELLS) < set(all_cells())
    assert not set(HELD_OUT_CELLS) & set(TRAINED_CELLS)


def test_closed_questions_cannot_be_guessed_from_their_wording(outlines: Outlines) -> None:
    answers: dict[str, Counter[str]] = {}
    for index in range(6000):
        phantom = draw_phantom((1, 2, index), outlines, "train")
        item = ask("yes_no", phantom.cell, "en", np.random.default_rng(index))
        answers.setdefault(item.question, Counter())[item.answer] += 1
    total = sum(answers.values(), Counter())
    assert max(total.values()) / total.total() < 0.55
    for question, counts in answers.items():
        assert max(counts.values()) / counts.total() < 0.62, question


@pytest.mark.parametrize("language", ["en", "zh"])
def test_questions_and_captions_say_what_is_true(language: str) -> None:
    words = WORDS[language]  # type: ignore[index]
    rng = np.random.default_rng(0)
    for cell in all_cells():
        for _ in range(5):
            said = caption(cell, language, rng).lower()  # type: ignore[arg-type]
            assert "{" not in said
            if cell.side:
                assert words[cell.finding] in said
                other = words["right" if cell.side == "left" else "left"].removesuffix("侧")
                assert other not in said
        for kind in kinds_for(cell):
            item = ask(kind, cell, language, rng)  # type: ignore[arg-type]
            assert item.answer in item.options == options_of(kind, language)  # type: ignore[arg-type]
    assert set(KINDS) == {"abnormality", "side", "zone", "yes_no"}
