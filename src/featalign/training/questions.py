"""Where the model is asked during training, and the labels that its answers are compared with.

Published (IFA): at the cells of the finest feature grid, resized to the labels. A model that is only ever asked there
never learns its finest level's position code, since every offset is zero; points teach it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from featalign.errors import ConfigError
from featalign.metrics import boundary_band
from featalign.models import Features, Segmentor
from featalign.training.recipe import TrainingRecipe

PUBLISHED_STRIDE = 4  # pixels per question and side: the pitch of the finest feature grid


def shown(images: Tensor, scale: float) -> Tensor:
    """Images (B, C, H, W) at a share of their size, as a test at that scale shows them."""
    if scale == 1:
        return images
    size = [max(1, round(scale * side)) for side in images.shape[-2:]]
    return torch.nn.functional.interpolate(images, size, mode="bilinear", antialias=True)


def ask(
    model: Segmentor, features: Features, masks: Tensor, *, recipe: TrainingRecipe, step: int
) -> tuple[Tensor, Tensor]:
    """Logits (B, K, h, w) and labels (B, h, w) of iteration ``step``, as ``recipe.query`` and its companions say.

    Args:
        model: the network, in training mode.
        features: of the images that ``masks`` (B, H, W) are of.
    """
    stride = recipe.query_stride
    if not asks_at_points(recipe.query, step):
        return answers_on_grid(model, features, masks, stride=stride), masks
    height, width = masks.shape[1:]
    points = jittered_points(len(masks), height, width, stride=stride, device=masks.device)
    if recipe.boundary_share:
        ignored = model.classes.ignore_index
        near = boundary_band(masks, recipe.boundary_radius, ignored)
        points = moved_into(near, points, share=recipe.boundary_share)
    return model.query(features, points, "dense"), labels_at(masks, points)


def require_taught(model: Segmentor, recipe: TrainingRecipe) -> None:
    """Refuse a recipe that never asks between the cells a network that by itself answers there.

    Raises:
        ConfigError: naming the question that it needs.
    """
    if model.auto_mode == "resized" or teaches_between_cells(recipe):
        return
    why, needed = ("it has a point head", "uncertain") if model.implicit is None else ("its codes are blended", "mixed")
    raise ConfigError(
        f"training.query: grid teaches a network nothing between the cells of its finest map, where this one answers "
        f"by itself ({why}); set training.query to {needed}"
    )


def teaches_between_cells(recipe: TrainingRecipe) -> bool:
    """Whether the network is ever asked between the cells of its finest map."""
    return recipe.query != "grid" or recipe.query_stride < PUBLISHED_STRIDE


def asks_at_points(query: str, step: int) -> bool:
    """Whether iteration ``step`` queries points: never for "grid", always for "points", at odd steps for "mixed"."""
    return query == "points" or (query == "mixed" and step % 2 == 1)


def answers_on_grid(model: Segmentor, features: Features, masks: Tensor, *, stride: int) -> Tensor:
    """Logits at every label: of the finest feature grid, resized; of a finer grid, resized; or asked one by one."""
    height, width = masks.shape[1:]
    if stride == PUBLISHED_STRIDE:
        return model.decode(features, (height, width), "resized")
    logits = model.decode(features, (math.ceil(height / stride), math.ceil(width / stride)), "dense")
    if stride == 1:
        return logits
    return torch.nn.functional.interpolate(
        logits, size=(height, width), mode="bilinear", align_corners=model.align_corners
    )


def jittered_points(
    batch: int, height: int, width: int, *, stride: int = PUBLISHED_STRIDE, device: torch.device | None = None
) -> Tensor:
    """One uniformly random point in each cell of ``stride`` x ``stride`` pixels of an image of ``height`` x ``width``.

    Returns:
        (B, ceil(height / stride), ceil(width / stride), 2): (x, y), where 0 and 1 are the outer edges of the image.
    """
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    points = torch.rand(batch, rows, columns, 2, device=device)
    points[..., 0] += torch.arange(columns, device=device)
    points[..., 1] += torch.arange(rows, device=device)[:, None]
    return points / torch.tensor([columns, rows], device=device)


def moved_into(region: Tensor, points: Tensor, *, share: float) -> Tensor:
    """``points`` with a random ``share`` of them moved to random places in the pixels of ``region``.

    No pixel takes more than one of them; where an image's region has fewer pixels, the others stay where they are.
    PointRend draws its points near uncertain pixels alike; here the labels say where.

    Args:
        region: bool (B, H, W).
        points: (B, h, w, 2), (x, y) in [0, 1].
    """
    batch, height, width = region.shape
    flat = points.flatten(1, 2)
    moved = min(round(share * flat.shape[1]), height * width)
    chance = torch.rand(batch, height * width, device=points.device) * region.flatten(1)
    found, pixels = chance.topk(moved, dim=1)
    inside = torch.rand(batch, moved, 2, device=points.device)
    places = torch.stack((pixels % width, pixels // width), -1) + inside
    places = places / torch.tensor([width, height], device=points.device)
    which = torch.rand(flat.shape[:2], device=points.device).argsort(1)[:, :moved, None].expand(-1, -1, 2)
    places = places.where(found[..., None] > 0, flat.gather(1, which))
    return flat.scatter(1, which, places).view_as(points)


def labels_at(masks: Tensor, points: Tensor) -> Tensor:
    """The label of the pixel that each point lies in.

    Args:
        masks: (B, H, W).
        points: (B, …, 2), (x, y) in [0, 1]; the far edges 1 belong to the last pixel.

    Returns:
        (B, …).
    """
    height, width = masks.shape[1:]
    columns = (points[..., 0] * width).long().clamp(0, width - 1)
    rows = (points[..., 1] * height).long().clamp(0, height - 1)
    return masks.flatten(1).gather(1, (rows * width + columns).flatten(1)).view(rows.shape)
