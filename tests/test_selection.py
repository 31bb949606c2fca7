"""Selection is nested: a smaller ratio takes a subset of a larger one, whatever the order."""

from hypothesis import given
from hypothesis import strategies as st

from doctor_sun.data.selection import selected

IDS = st.lists(st.text("abcdef0123456789", min_size=4, max_size=12), unique=True, max_size=60)


@given(IDS, st.floats(0, 1), st.floats(0, 1), st.integers(0, 5))
def test_nested_and_exact(ids: list[str], one: float, two: float, seed: int) -> None:
    small, large = sorted((one, two))
    assert selected(ids, small, seed) <= selected(ids, large, seed)
    assert len(selected(ids, small, seed)) == round(small * len(ids))
    assert selected(ids[::-1], small, seed) == selected(ids, small, seed)


@given(IDS)
def test_the_ends(ids: list[str]) -> None:
    assert selected(ids, 0, 0) == set()
    assert selected(ids, 1, 0) == set(ids)
