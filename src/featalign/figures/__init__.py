"""Pictures of label maps: palette images, overlays with a legend, and comparisons of predictions with the truth.

Images are uint8 arrays (H, W, 3), labels integer arrays (H, W) of class ids; everything comes back as a Pillow image.
"""

from __future__ import annotations

from featalign.figures.comparison import comparison
from featalign.figures.objects import object_overlay
from featalign.figures.overlay import overlay
from featalign.figures.palette import VOID_COLOR, colorize, palette_image

__all__ = ["VOID_COLOR", "colorize", "comparison", "object_overlay", "overlay", "palette_image"]
