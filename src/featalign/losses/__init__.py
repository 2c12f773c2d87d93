"""What training minimizes: functions of logits and class ids.

Computed in float32 also under autocast; a batch without a valid pixel gives 0, attached to the graph, never NaN.
"""

from __future__ import annotations

from featalign.losses.cross_entropy import cross_entropy
from featalign.losses.ohem import ohem_cross_entropy

__all__ = ["cross_entropy", "ohem_cross_entropy"]
