"""Parts of a network that stay as they start.

Belongs between the weights a run begins with and its optimizer, which takes up what still learns.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from featalign.errors import ConfigError
from featalign.training.network import Network
from featalign.training.recipe import TrainingRecipe


def freeze(model: Network, recipe: TrainingRecipe) -> int:
    """Freeze what ``recipe.freeze`` names, for good: ``model.train()`` does not wake it.

    ``backbone``: its weights, running statistics and dropout. ``backbone_norms``: the batch normalization in it,
    weights and statistics; FaPN trains so (supplement A).

    Returns:
        Number of parameters (scalars) that will not learn.

    Raises:
        ConfigError: if the norms of a backbone are asked for that has no batch normalization.
    """
    if recipe.freeze == "none":
        return 0
    backbone = model.get_submodule("backbone")
    frozen = [backbone] if recipe.freeze == "backbone" else _norms(backbone)
    if not frozen:
        raise ConfigError(
            "training.freeze: this backbone has no batch normalization to freeze; use none or backbone "
            f"(it normalizes by {', '.join(_other_norms(backbone)) or 'nothing'})"
        )
    for module in frozen:
        module.requires_grad_(False)
        module.register_forward_pre_hook(_evaluate)
    return sum(parameter.numel() for module in frozen for parameter in module.parameters())


def _evaluate(module: nn.Module, inputs: object) -> None:
    """Before every pass: whatever called ``train()`` on the whole network."""
    if module.training:
        module.eval()


def _norms(backbone: nn.Module) -> Sequence[nn.Module]:
    return [module for module in backbone.modules() if isinstance(module, _NormBase)]


def _other_norms(backbone: nn.Module) -> list[str]:
    return sorted({type(module).__name__ for module in backbone.modules() if "norm" in type(module).__name__.lower()})
