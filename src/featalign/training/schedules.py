"""How the learning rate moves: functions of the iteration alone, so that a resumed run goes on where it was."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from featalign.training.recipe import TrainingRecipe


def schedule(recipe: TrainingRecipe, *, lr: float) -> Callable[[int], float]:
    """What a base rate of ``lr`` is multiplied by at steps 0, 1, …: the recipe's schedule under its warm-up."""
    total = recipe.iterations
    falls: dict[str, Callable[[int], float]] = {
        "poly": lambda step: poly_factor(step, total=total, power=recipe.power),
        "cosine": lambda step: cosine_factor(step, total=total, end=recipe.lr_end / lr),
        "step": lambda step: step_factor(step, steps=recipe.steps, gamma=recipe.gamma),
        "constant": lambda step: 1.0,
    }
    fall = falls[recipe.schedule]
    return lambda step: fall(step) * warmup_factor(step, steps=recipe.warmup)


def poly_factor(step: int, *, total: int, power: float = 0.9) -> float:
    """``(1 - step / total) ** power`` (IFA section 4.2, AlignSeg section 4.2); 0 from ``total`` on."""
    return max(0.0, 1 - step / total) ** power


def cosine_factor(step: int, *, total: int, end: float = 0.0) -> float:
    """Half a cosine from 1 to ``end``, where it stays from ``total`` on; the published code of IFA has it too."""
    return end + (1 - end) * (1 + math.cos(math.pi * min(step / total, 1.0))) / 2


def step_factor(step: int, *, steps: Sequence[int], gamma: float = 0.1) -> float:
    """``gamma`` to the power of how many of ``steps`` have been reached (FaPN, supplement A: 40k and 55k of 65k)."""
    return gamma ** bisect_right(steps, step)


def warmup_factor(step: int, *, steps: int) -> float:
    """A line from near 0 to 1 over the first ``steps`` steps, then 1. No step has a learning rate of exactly 0."""
    return min(1.0, (step + 1) / (steps + 1))
