"""What training minimizes: functions of logits and class ids.

One rule for all: pixels of ``ignore_index`` count nowhere; computed in float32 also under autocast; a batch without a
valid pixel gives 0, attached to the graph, never NaN. docs/metrics.md defines each of them.
"""

from __future__ import annotations

from featalign.losses.balanced import balanced_weights, class_balanced_cross_entropy
from featalign.losses.cross_entropy import cross_entropy
from featalign.losses.dice import dice_loss
from featalign.losses.lovasz import lovasz_softmax
from featalign.losses.ohem import ohem_cross_entropy
from featalign.losses.ohem_alignseg import ohem_cross_entropy_alignseg

__all__ = [
    "balanced_weights",
    "class_balanced_cross_entropy",
    "cross_entropy",
    "dice_loss",
    "lovasz_softmax",
    "ohem_cross_entropy",
    "ohem_cross_entropy_alignseg",
]
