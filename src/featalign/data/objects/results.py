"""What a detector answers, as COCO's result format: what is scored and what is written to files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from featalign.data.objects.rle import encode


def coco_results(
    answer: Mapping[str, Tensor], *, image_id: int, categories: Sequence[int], threshold: float = 0.5
) -> list[dict[str, Any]]:
    """One row per detection: ``image_id``, ``category_id``, ``score``, ``bbox``; and ``segmentation`` if it has a mask.

    Args:
        answer: of one of torchvision's detectors for one image: ``boxes`` (N, 4), left, top, right, bottom; ``labels``
            (N) from 1; ``scores`` (N); and ``masks`` (N, 1, H, W), probabilities, if it gives any.
        image_id: COCO's number of the image.
        categories: COCO's number of each class: ``categories`` of an :class:`~featalign.data.objects.ObjectDataset`.
        threshold: probability from which a pixel belongs to a mask.
    """
    edges = answer["boxes"].detach().cpu()
    sizes = edges[:, 2:] - edges[:, :2]
    rows: list[dict[str, Any]] = [
        {"image_id": image_id, "category_id": categories[label - 1], "score": score, "bbox": [*corner, *size]}
        for label, score, corner, size in zip(
            answer["labels"].tolist(), answer["scores"].tolist(), edges[:, :2].tolist(), sizes.tolist(), strict=True
        )
    ]
    if "masks" in answer:
        for row, mask in zip(rows, (answer["masks"][:, 0] >= threshold).cpu().numpy(), strict=True):
            row["segmentation"] = encode(mask)
    return rows
