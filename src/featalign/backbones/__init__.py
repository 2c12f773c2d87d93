"""timm's backbones as pyramids."""

from featalign.backbones.pyramid import Pyramid

__all__ = ["Pyramid"]
