"""What is trained."""

from __future__ import annotations

from typing import TypeAlias

from featalign.models import Detector, Segmentor

Network: TypeAlias = Segmentor | Detector
"""Both know their ``classes`` and ``normalization`` and have a module ``backbone``."""
