"""timm's backbones as pyramids."""

from featalign.backbones.body import normalization_of
from featalign.backbones.freezing import freeze_levels, freeze_norms
from featalign.backbones.pyramid import Pyramid

__all__ = ["Pyramid", "freeze_levels", "freeze_norms", "normalization_of"]
