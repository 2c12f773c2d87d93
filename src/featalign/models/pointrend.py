"""PointRend for semantic segmentation (CVPR 2020, sections 3 and 5): a head that answers at single points.

images ─▶ backbone ─▶ pathway ─┬─▶ P2 (B, width, h, w) ──read at a point──┬─▶ MLP ─▶ K logits of the point
                               └─▶ head ─▶ coarse logits (B, K, h, w) ────┘

The coarse answer is refined where it is uncertain: ``mode="adaptive"`` asks there, level by level, as the paper's
subdivision does; ``training.query: uncertain`` draws the points of its section 3.1 to learn from. FaPN's Tables 1, 2
and 4 have this head on top (FaPN section 4).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from featalign.backbones import Pyramid
from featalign.models.encoder_decoder import EncoderDecoder
from featalign.models.network import Features
from featalign.ops.sampling import sample_at
from featalign.spec import Classes


class PointHead(nn.Module):
    """An MLP that sees the coarse logits again before every layer.

    Fine features (B, width, N) and coarse logits (B, K, N) to logits (B, K, N).

    Args:
        width: channels of the fine features.
        classes: K.
        hidden: width of the hidden layers; 256 in the paper.
        layers: how many; 3 in the paper.
    """

    def __init__(self, width: int, classes: int, *, hidden: int = 256, layers: int = 3) -> None:
        super().__init__()
        widths = [width] + [hidden] * (layers - 1)
        self.hidden = nn.ModuleList(_hidden_layer(entering + classes, hidden) for entering in widths)
        self.classify = nn.Conv1d(hidden + classes, classes, 1)
        nn.init.normal_(self.classify.weight, std=0.001)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        for layer in self.hidden:
            fine = layer(torch.cat((fine, coarse), 1)).relu()
        return self.classify(torch.cat((fine, coarse), 1))


class PointRefined(EncoderDecoder):
    """A network with one answer grid whose points are answered by a :class:`PointHead`.

    Args:
        pathway: maps of the backbone, finest first, to levels of ``width`` channels.
        head: those levels to coarse logits (B, K, h_0, w_0).
        classes, backbone, auxiliary, align_corners: see :class:`~featalign.models.encoder_decoder.EncoderDecoder`.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        backbone: Pyramid,
        pathway: nn.Module,
        head: nn.Module,
        width: int,
        auxiliary: bool,
        align_corners: bool = False,
    ) -> None:
        super().__init__(
            classes,
            backbone=backbone,
            decoder=nn.Sequential(pathway, head),
            auxiliary=auxiliary,
            align_corners=align_corners,
        )
        self.auto_mode = "adaptive"
        self.strides = (self.strides[0], self.strides[0])
        self.point_head = PointHead(width, len(classes))
        self.point_values = 4 * width + 4 * len(classes) + 3 * 256

    def maps(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """Coarse logits and the finest level, on the same grid."""
        maps = self.backbone(images)
        levels = self.decoder.get_submodule("0")(maps)
        return [self.decoder.get_submodule("1")(levels), levels[0]], maps[-2]

    def answer_points(self, features: Features, points: Tensor) -> Tensor:
        coarse, fine = features.maps
        logits: Tensor = self.point_head(sample_at(fine, points), sample_at(coarse, points))
        return logits


def _hidden_layer(in_channels: int, out_channels: int) -> nn.Conv1d:
    layer = nn.Conv1d(in_channels, out_channels, 1)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
