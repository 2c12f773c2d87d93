"""Training of detectors and panoptic networks: the tasks of :func:`featalign.models.create_detector`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from rich.console import Console
from torch import Tensor, nn

from featalign.backbones import normalization_of
from featalign.data.objects import AnyObjects, AnySegments, detection_target, panoptic_target
from featalign.data.objects.splits import AnnotationKind
from featalign.errors import ConfigError
from featalign.metrics.detection import require_pycocotools
from featalign.models import Detector, create_detector, save_detector
from featalign.spec import IGNORE_INDEX, Normalization
from featalign.training.determinism import drawn_images
from featalign.training.judging import Judge
from featalign.training.network import Network
from featalign.training.object_judging import DetectionJudge, PanopticJudge
from featalign.training.object_splits import augment_objects, check_object_files, open_object_splits
from featalign.training.recipe import DataRecipe, Recipe
from featalign.training.splits import Splits


class ObjectBatch(TypedDict):
    """Images of any sizes, uint8 (C, H, W), what they train, and their names."""

    image: list[Tensor]
    target: list[dict[str, Tensor]]
    name: list[str]


class ObjectLearner(nn.Module):
    """From a batch to its losses in one pass: the network's own, and their sum."""

    def __init__(self, model: Detector) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: ObjectBatch, step: int) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.model(batch["image"], batch["target"])
        return {"loss": sum(losses.values(), start=next(iter(losses.values())).new_zeros(())), **losses}


class DetectionTask:
    """Boxes, and masks where the network has them; see :class:`featalign.training.tasks.Task`."""

    optional_losses: tuple[str, ...] = ()
    kind: AnnotationKind = "instances"

    def open_splits(self, root: Path, recipe: DataRecipe) -> Splits:
        return open_object_splits(root, recipe, kind=self.kind)

    def augment(self, splits: Splits, recipe: DataRecipe, normalization: Normalization) -> None:
        augment_objects(splits, recipe, normalization, kind=self.kind)

    def check_files(self, root: Path, recipe: DataRecipe, *, console: Console) -> None:
        check_object_files(root, recipe, kind=self.kind, console=console)

    def build(self, recipe: Recipe, splits: Splits, *, pretrained: bool) -> Detector:
        return build_detector(recipe, splits, pretrained=pretrained)

    def learner(self, model: Network, recipe: Recipe, *, class_weights: Tensor | None) -> ObjectLearner:
        return ObjectLearner(cast(Detector, model))

    def collated(self, splits: Splits) -> Callable[[list[Any]], Any]:
        return partial(collate_objects, target=detection_target)

    def drawn(self, recipe: DataRecipe, splits: Splits, *, device: torch.device) -> ObjectBatch:
        images = drawn_images(recipe, device)
        target = _drawn_target((images.shape[-2], images.shape[-1]), splits.things or (0,), device)
        return {"image": list(images), "target": [target] * len(images), "name": ["drawn"] * len(images)}

    def judged(self, splits: Splits) -> tuple[Callable[[list[Any]], Any], Callable[[], Judge[Any, Any]]]:
        require_pycocotools()  # before hours of training, not at their first judgement
        return one, lambda: DetectionJudge(cast(AnyObjects, splits.val))

    def save(self, model: Network, folder: Path) -> None:
        save_detector(cast(Detector, model), folder)


class PanopticTask(DetectionTask):
    """Objects, and a class at each pixel that is none's."""

    kind: AnnotationKind = "panoptic"

    def collated(self, splits: Splits) -> Callable[[list[Any]], Any]:
        return partial(collate_objects, target=partial(panoptic_target, things=splits.things or ()))

    def judged(self, splits: Splits) -> tuple[Callable[[list[Any]], Any], Callable[[], Judge[Any, Any]]]:
        return one, lambda: PanopticJudge(cast(AnySegments, splits.val))


def build_detector(recipe: Recipe, splits: Splits, *, pretrained: bool = True) -> Detector:
    """The untrained detector of a recipe; ``pretrained`` false leaves the recipe's weights for the backbone out.

    Raises:
        ConfigError: for options that the network does not have.
    """
    model = recipe.model
    things = splits.things if recipe.task == "panoptic" else None
    chosen: dict[str, Any] = {"fuse": model.align, "width": model.width, "things": things}
    try:
        detector = create_detector(
            model.name,  # type: ignore[arg-type]  # create_detector says which names there are
            backbone=model.backbone,
            pretrained=model.pretrained if pretrained else False,
            classes=splits.classes,
            in_channels=recipe.data.channels,
            **{name: value for name, value in chosen.items() if value is not None},
            **model.options,
        )
    except TypeError as error:
        raise ConfigError(f"model.options: {model.name} does not take these ({error})") from error
    # also when it goes on and is built without these weights
    detector.normalization = normalization_of(model.backbone, recipe.data.channels, pretrained=model.pretrained)
    return detector


def collate_objects(samples: list[Any], *, target: Callable[[Any], dict[str, Tensor]]) -> ObjectBatch:
    """Samples of any sizes as a batch."""
    return {
        "image": [sample["image"].as_subclass(Tensor) for sample in samples],
        "target": [target(sample) for sample in samples],
        "name": [sample["name"] for sample in samples],
    }


def one(samples: list[Any]) -> Mapping[str, Any]:
    """The only sample, as it is."""
    (sample,) = samples
    return cast(Mapping[str, Any], sample)


def _drawn_target(size: tuple[int, int], things: Sequence[int], device: torch.device) -> dict[str, Tensor]:
    """One object of the first of ``things`` over the upper left quarter: all that any network here learns from."""
    bottom, right = ((side + 1) // 2 for side in size)
    mask = torch.zeros(1, *size, dtype=torch.uint8, device=device)
    mask[:, :bottom, :right] = 1
    return {
        "boxes": torch.tensor([[0.0, 0.0, right, bottom]], device=device),
        "labels": torch.tensor([things[0] + 1], device=device),
        "masks": mask,
        "semantic": torch.where(mask[0] > 0, things[0], IGNORE_INDEX),
        "image_id": torch.tensor(0),
    }
