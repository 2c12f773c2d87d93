"""Position codes that gain their frequencies during training, low to high, so that coarse shape is learnt first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from featalign.align.encoding import PositionEncoding
from featalign.training.recipe import TrainingRecipe


@contextmanager
def annealed(model: nn.Module, recipe: TrainingRecipe, *, step: int) -> Iterator[None]:
    """While it lasts, the position codes of ``model`` show the frequencies that are due at ``step``.

    They are all due after ``recipe.anneal_position`` of the iterations. Outside, and so in every validation and in
    every model that is stored, all frequencies count: a score is that of the model as it will be used.
    """
    ramp = recipe.anneal_position * recipe.iterations
    if step >= ramp:
        yield
        return
    codes = [module for module in model.modules() if isinstance(module, PositionEncoding)]
    try:
        for code in codes:
            code.revealed = step / ramp
        yield
    finally:
        for code in codes:
            code.revealed = 1.0
