"""Parameters and multiply-adds of a network, as computed here and as the papers count them.

The papers' "GFLOPs" are the multiply-adds of convolutions and matrix products, twice the elements of every batch
normalization and the elements of every ReLU, leaky ones too, auxiliary head included, with the implicit function in its
concatenated form. CARAFE's weighted sums are not counted. The products of deformable convolutions are, here; FaPN's
own tables leave them out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from featalign.align import ImplicitFunction
from featalign.models.segmentor import Segmentor


@dataclass(frozen=True)
class Complexity:
    """``parameters`` of the network in use, ``training_parameters`` with the auxiliary head; ``size`` of the image
    counted;
    ``multiply_adds`` of the answer on the finest map's grid, as computed here; ``papers_flops`` by the papers'
    convention."""

    parameters: int
    training_parameters: int
    size: tuple[int, int]
    multiply_adds: int
    papers_flops: int


def complexity(model: Segmentor, size: tuple[int, int] = (1024, 1024)) -> Complexity:
    """Count ``model`` for one image of ``size`` (height, width). Nothing is computed: shapes alone are run."""
    shapes = copy.deepcopy(model).to("meta")
    image = torch.empty(1, model.in_channels, *size, device="meta")
    used = _multiply_adds(shapes.eval(), image)
    shapes.train()
    with _elementwise(shapes) as elements:
        trained = _multiply_adds(shapes, image)
    auxiliary = sum(p.numel() for p in model.auxiliary.parameters()) if model.auxiliary is not None else 0
    total = sum(p.numel() for p in model.parameters())
    return Complexity(
        parameters=total - auxiliary,
        training_parameters=total,
        size=size,
        multiply_adds=used,
        papers_flops=trained + sum(elements) + _concatenated_form_adds(shapes, image),
    )


def _multiply_adds(model: Segmentor, image: Tensor) -> int:
    def run() -> None:
        features = model.encode(image)
        model.answer_grid(features, None)
        model.auxiliary_logits(features)

    return _counted(run)


@contextmanager
def _elementwise(model: nn.Module) -> Iterator[list[int]]:
    """Collects 2 x elements of every batch normalization and the elements of every ReLU that runs."""
    counts: list[int] = []

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        counts.append(output.numel() * (1 if isinstance(module, relus) else 2))

    relus = (nn.ReLU, nn.LeakyReLU)
    kinds = (*relus, nn.modules.batchnorm._BatchNorm)
    handles = [module.register_forward_hook(count) for module in model.modules() if isinstance(module, kinds)]
    yield counts
    for handle in handles:
        handle.remove()


def _concatenated_form_adds(model: Segmentor, image: Tensor) -> int:
    """What the first layer of an implicit function costs more where it multiplies the concatenation at every query."""
    functions = [module for module in model.modules() if isinstance(module, ImplicitFunction)]
    if not functions:
        return 0
    with torch.no_grad():
        levels = model.encode(image).maps
    return sum(_first_layer_difference(function, levels) for function in functions)


def _first_layer_difference(function: ImplicitFunction, levels: list[Tensor]) -> int:
    height, width = levels[0].shape[-2:]
    inputs = sum(function.level_channels) + (function.position.in_features if function.position is not None else 0)
    hidden = torch.empty(1, function.hidden[0], height, width, device="meta")
    ours = _counted(lambda: function(levels)) - _counted(lambda: function.mlp(hidden))
    return height * width * inputs * function.hidden[0] - ours


def _counted(run: Callable[[], object]) -> int:
    """Multiply-adds of what ``run`` computes."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops()) // 2
