"""Selection is nested and exact: a smaller ratio takes a subset of a larger one, in any order."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doctor_sun.data.selection import Kind, SelectionConfig, limits, places
from doctor_sun.errors import InputError

IDS = st.lists(st.text("abcdef0123456789", min_size=4, max_size=12), unique=True, max_size=60)
MEDICAL: Kind = ("roco", "medical", "caption")
GENERAL: Kind = ("bunny", "general", "caption")


def kept(ids: list[str], kind: Kind, others: dict[Kind, list[str]], **config: object) -> set[str]:
    """The ids of one kind that are selected among rows of several kinds."""
    chosen = SelectionConfig(**config)  # type: ignore[arg-type]
    rows = {kind: ids, **others}
    ranked = {k: places(pa.table({"id": pa.array(v, pa.string())}), 0) for k, v in rows.items()}
    limit = limits(ranked, chosen)
    return {
        id for id, place in zip(ids, ranked[kind], strict=True) if not limit.reason(kind, place)
    }


@given(IDS, st.floats(0, 1), st.floats(0, 1))
def test_nested_and_exact(ids: list[str], one: float, two: float) -> None:
    small, large = sorted((one, two))
    fewer = kept(ids, MEDICAL, {}, ratios={"roco": small})
    assert fewer <= kept(ids, MEDICAL, {}, ratios={"roco": large})
    assert len(fewer) == round(small * len(ids))
    assert kept(ids[::-1], MEDICAL, {}, ratios={"roco": small}) == fewer


@given(IDS)
def test_the_ends(ids: list[str]) -> None:
    assert kept(ids, MEDICAL, {}, ratios={"roco": 0}) == set()
    assert kept(ids, MEDICAL, {}) == set(ids)


@given(IDS, IDS, st.floats(0, 2))
def test_general_rows_follow_the_medical_ones(
    medical: list[str], general: list[str], ratio: float
) -> None:
    config = {"ratios": {"roco": 0.5}, "general_to_medical": {"caption": ratio}}
    chosen = kept(general, GENERAL, {MEDICAL: medical}, **config)
    wanted = round(ratio * round(0.5 * len(medical)))
    assert len(chosen) == min(wanted, len(general))
    assert kept(medical, MEDICAL, {GENERAL: general}, **config) == kept(
        medical, MEDICAL, {}, ratios={"roco": 0.5}
    )


def test_a_wrong_ratio_is_refused() -> None:
    found = {MEDICAL: np.zeros(1, np.uint64)}
    with pytest.raises(InputError, match="the sources are roco"):
        limits(found, SelectionConfig(ratios={"rocco": 0.5}))
    with pytest.raises(InputError, match="must be 0 to 1"):
        limits(found, SelectionConfig(ratios={"roco": 1.5}))
