"""How good an answer is: one exact confusion matrix over a whole split, its scores, and bands around boundaries.

Scoring ``boundary_target(target, width)`` in place of the target gives the boundary scores.
"""

from __future__ import annotations

from featalign.metrics.boundary import boundary_band, boundary_target
from featalign.metrics.confusion import ConfusionMatrix, Scores, scores

__all__ = ["ConfusionMatrix", "Scores", "boundary_band", "boundary_target", "scores"]
