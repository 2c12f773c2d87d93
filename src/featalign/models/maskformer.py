"""MaskFormer (NeurIPS 2021) on any pyramid, as FaPN's Table 7 has it: the pathway's finest map gives the pixels.

images ─▶ backbone ─┬─▶ neck ─▶ P2 ── 3x3 ─▶ embedding of each pixel (B, C, h, w) ─────────┐
                    └─▶ C5 ─▶ transformer decoder of Q queries ─┬─▶ MLP ─▶ (B, Q, C) ──────┴─▶ masks (B, Q, h, w)
                                                                └─▶ classes (B, Q, K + 1), the last: no object

Decoder, matching and losses are those of the library ``transformers``: ``pip install 'featalign[maskformer]'``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.errors import ConfigError
from featalign.layers import without_autocast
from featalign.models.canvas import own_pixels
from featalign.models.feature_pyramid import FeaturePyramid
from featalign.models.maskformer_merging import QueryMerging, class_of_pixels, merge_queries
from featalign.models.panoptic_parts import require_targets
from featalign.models.resizing import Resizing

CLASS_WEIGHT, MASK_WEIGHT, DICE_WEIGHT, NO_OBJECT_WEIGHT = 1.0, 20.0, 1.0, 0.1
HEADS, LAYERS, FEEDFORWARD = 8, 6, 8  # the last in widths


class MaskFormer(nn.Module):
    """Images, float (C, H, W) in [0, 1] of any sizes, to losses in training and to segments in evaluation.

    Targets are those of :func:`~featalign.data.objects.panoptic_target`: each object is one mask to be found, and so is
    each class of stuff. As published, void pixels and crowds belong to no mask. Without things it is MaskFormer for
    semantic segmentation. Answers hold the class of each pixel besides the segments: ``semantic``, int64 (H, W).

    Args:
        backbone: the pyramid; its width C is that of the transformer, too: 256 as published.
        things: ids of the classes whose objects are told apart, ascending.
        stuff: ids of all other classes, ascending.
        image_mean, image_std: of the images, as of torchvision's detectors.
        queries: how many segments can be found.
        merging: how queries become segments.

    Raises:
        ConfigError: without the library, or for a width that the heads cannot share.
    """

    def __init__(
        self,
        backbone: FeaturePyramid,
        *,
        things: Sequence[int],
        stuff: Sequence[int],
        image_mean: Sequence[float],
        image_std: Sequence[float],
        queries: int = 100,
        merging: QueryMerging | None = None,
    ) -> None:
        super().__init__()
        width = backbone.out_channels
        if width % HEADS:
            raise ConfigError(
                f"maskformer has {HEADS} heads of attention; choose a width that they divide, not {width}"
            )
        self.backbone = backbone
        smooth = backbone.neck.pathway.smooth
        for coarser in range(1, len(smooth)):  # only the finest map is read
            smooth[coarser] = nn.Identity()
        self.things, self.stuff = tuple(things), tuple(stuff)
        self.merging = merging or QueryMerging()
        self.transform = Resizing(image_mean=image_mean, image_std=image_std)
        self.embed_pixels = nn.Conv2d(width, width, 3, padding=1)
        classes = len(things) + len(stuff)
        self.classify = nn.Linear(width, classes + 1)
        self.transformer, self.embed_masks, self.criterion = _parts(
            width, backbone.backbone.channels[-1], queries, classes
        )

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> Any:
        """A dictionary of losses, or one for each image, see :class:`~featalign.models.Detector`."""
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        batch, _ = self.transform(images)
        canvas = (batch.tensors.shape[-2], batch.tensors.shape[-1])
        maps = self.backbone.backbone(batch.tensors)
        pixels = self.embed_pixels(self.backbone.neck(maps)[0])
        answers = [(self.classify(found), self._masks(found, pixels)) for found in self._decoded(maps[-1])]
        if self.training:
            segments = self._segments(targets, sizes, batch.image_sizes, canvas)
            return self._losses(answers, segments)
        classes, masks = answers[-1]
        return [
            self._answer(classes[i].float(), own_pixels(masks[i : i + 1].float(), shown, canvas, size)[0])
            for i, (shown, size) in enumerate(zip(batch.image_sizes, sizes, strict=True))
        ]

    def _decoded(self, coarsest: Tensor) -> list[Tensor]:
        """Queries (B, Q, C): after each layer in training, after the last one in evaluation."""
        found = self.transformer(coarsest, output_hidden_states=self.training, return_dict=True)
        if not self.training:
            return [found.last_hidden_state]
        norm = self.transformer.get_submodule("decoder.layernorm")
        return [*(norm(layer) for layer in found.hidden_states[1:-1]), found.last_hidden_state]

    def _masks(self, found: Tensor, pixels: Tensor) -> Tensor:
        return torch.einsum("bqc,bchw->bqhw", self.embed_masks(found), pixels)

    def _losses(
        self, answers: Sequence[tuple[Tensor, Tensor]], segments: Sequence[tuple[Tensor, Tensor]]
    ) -> dict[str, Tensor]:
        """Sums over the layers, which are all supervised alike."""
        labels, masks = [label for label, _ in segments], [mask for _, mask in segments]
        with without_autocast(masks[0].device.type):  # the matching's sums over large masks are beyond half precision
            found = [self.criterion(mask.float(), kind.float(), masks, labels) for kind, mask in answers]
        weights = {"cross_entropy": CLASS_WEIGHT, "mask": MASK_WEIGHT, "dice": DICE_WEIGHT}
        names = {f"loss_{name}": weight for name, weight in weights.items()}
        return {name: weight * torch.stack([loss[name] for loss in found]).sum() for name, weight in names.items()}

    def _segments(
        self,
        targets: list[dict[str, Tensor]] | None,
        sizes: Sequence[tuple[int, int]],
        shown: Sequence[tuple[int, int]],
        canvas: tuple[int, int],
    ) -> list[tuple[Tensor, Tensor]]:
        """Classes (S) and masks (S, *canvas) of each image. Raises ValueError."""
        found = []
        for target, own in zip(require_targets(targets, sizes), shown, strict=True):
            there = [label for label in self.stuff if bool((target["semantic"] == label).any())]
            stuff = torch.tensor(there, dtype=torch.int64, device=target["labels"].device)
            masks = torch.cat((target["masks"].bool(), target["semantic"] == stuff[:, None, None])).float()
            masks = F.interpolate(masks[:, None], own, mode="nearest-exact")[:, 0]
            masks = F.pad(masks, (0, canvas[1] - own[1], 0, canvas[0] - own[0]))
            found.append((torch.cat((target["labels"] - 1, stuff)), masks))
        return found

    def _answer(self, classes: Tensor, masks: Tensor) -> dict[str, Tensor]:
        segments, labels, scores = merge_queries(classes, masks, self.stuff, self.merging)
        answer = {"segments": segments, "segment_labels": labels, "segment_scores": scores}
        return {**answer, "semantic": class_of_pixels(classes, masks)}


def _in_single_precision(module: nn.Module, asked: tuple[Any, ...]) -> tuple[Any, ...]:
    """What is asked of the position codes, whose places half precision would round."""
    return tuple(torch.float32 if isinstance(value, torch.dtype) else value for value in asked)


def _parts(width: int, channels: int, queries: int, classes: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Transformer, MLP and losses of ``transformers``. Raises ConfigError without it."""
    try:
        import scipy  # noqa: F401  # the matching needs it
        from transformers import DetrConfig, MaskFormerConfig
        from transformers.models.maskformer import modeling_maskformer as library
    except ImportError as error:
        raise ConfigError("maskformer needs transformers and scipy: pip install 'featalign[maskformer]'") from error
    decoder = DetrConfig(
        d_model=width,
        num_queries=queries,
        decoder_layers=LAYERS,
        decoder_attention_heads=HEADS,
        encoder_attention_heads=HEADS,
        decoder_ffn_dim=FEEDFORWARD * width,
    )
    config = MaskFormerConfig(fpn_feature_size=width, mask_feature_size=width, decoder_config=decoder)
    transformer = library.MaskFormerTransformerModule(channels, config)
    transformer.position_embedder.register_forward_pre_hook(_in_single_precision)
    for parameter in transformer.decoder.parameters():
        if parameter.ndim > 1:  # as published: from the library's smaller ones, queries learn to differ late
            nn.init.xavier_uniform_(parameter)
    matcher = library.MaskFormerHungarianMatcher(CLASS_WEIGHT, MASK_WEIGHT, DICE_WEIGHT)
    return (
        transformer,
        library.MaskformerMLPPredictionHead(width, width, width),
        library.MaskFormerLoss(classes, matcher, {}, NO_OBJECT_WEIGHT),
    )
