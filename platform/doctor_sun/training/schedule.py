"""The learning-rate schedule of every stage: linear warm-up, then cosine to zero."""

import math


def warmup_cosine(step: int, total: int, warmup_share: float) -> float:
    """Factor on the peak learning rate at a step (0-based) of `total` steps.

    Args:
        step: the step about to be taken.
        total: steps of the whole stage.
        warmup_share: share of the steps that ramps up linearly (the paper: 0.03).
    """
    warmup = max(1, math.ceil(warmup_share * total))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
