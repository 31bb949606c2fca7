"""Engines import some optional packages only because these are installed; each process pays."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def absent(*packages: str) -> Iterator[None]:
    """Import something as if packages were not installed, those that nobody has imported yet.

    Args:
        packages: that what is imported in the block can do without.
    """
    hidden = [name for name in packages if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # what Python takes for "not there"
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
