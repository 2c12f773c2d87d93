"""What a run's files tell of its model: the facts of a model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from featalign.errors import DataError, did_you_mean
from featalign.files import read_json
from featalign.inference.grouping import TITLES
from featalign.models import Segmentor
from featalign.models.card import Measured, ModelCard, Origin, Stated
from featalign.training.recipe import Recipe
from featalign.training.recipe_files import load_recipe
from featalign.training.recipe_training import TrainingRecipe
from featalign.training.run_folder import RunFolder


def run_card(model: Segmentor, run: Path, *, title: str, stated: Stated, evaluations: Sequence[Path] = ()) -> ModelCard:
    """The card of the ``model`` that ``run`` trained.

    Args:
        run: a run folder; of one without a recipe, or of a model folder, the card says what else is known.
        evaluations: files that ``featalign eval --json`` wrote of this model.

    Raises:
        DataError: if a file is not what it should be, or of a model with other classes.
    """
    folder = RunFolder(run)
    recipe = load_recipe(folder.recipe) if folder.recipe.is_file() else None
    validated = _validation(folder, recipe, model)
    return ModelCard(
        title,
        stated=stated,
        origin=Origin() if recipe is None else _origin(recipe, folder),
        measured=[*validated, *(_evaluation(path, model) for path in evaluations)],
        versions=_read(folder.versions) if folder.versions.is_file() else {},
    )


def _origin(recipe: Recipe, folder: RunFolder) -> Origin:
    pretrained, start = recipe.model.pretrained, recipe.training.start_from
    return Origin(
        backbone=pretrained if isinstance(pretrained, bool) else Path(pretrained).name,
        model=None if start is None else Path(start).name,
        facts=_facts(recipe, folder),
        aim=_aim(recipe),
    )


def _facts(recipe: Recipe, folder: RunFolder) -> list[tuple[str, str]]:
    data, training, loss = recipe.data, recipe.training, recipe.loss
    rows = [
        ("recipe", recipe.summary),
        ("layout and split", f"{data.layout}, `{data.train_split}`"),
        ("crops", f"{data.crop[0]} x {data.crop[1]} of images scaled by {data.scales[0]:g} to {data.scales[1]:g}"),
        ("iterations", _iterations(training, folder)),
        ("optimizer", f"{training.optimizer}, learning rate {training.lr:g}, {training.schedule}"),
        ("weight decay", f"{training.weight_decay:g}"),
        ("loss", f"{loss.main}, auxiliary {loss.auxiliary} x {loss.auxiliary_weight:g}"),
        ("precision and seed", f"{training.precision}, {training.seed}"),
    ]
    return [(what, value) for what, value in rows if value]


def _iterations(training: TrainingRecipe, folder: RunFolder) -> str:
    """Those that were made; beside them the recipe's, where these are more."""
    batch = f"{training.batch}" + (f" x {training.accumulate} accumulated" if training.accumulate > 1 else "")
    if not folder.metrics.is_file():
        return f"unfinished; the recipe has {training.iterations} of {batch} crops"
    numbers = _read(folder.metrics)
    made = numbers.get("iterations", training.iterations)
    if made == training.iterations:
        return f"{made} of {batch} crops"
    how = "interrupted" if numbers.get("interrupted") else "stopped early"
    return f"{made} of {batch} crops, {how}; the recipe has {training.iterations}"


def _aim(recipe: Recipe) -> str:
    return "; ".join(
        f"{aim.paper}, table {aim.table}, {aim.row}: {', '.join(f'{k} {v:g}' for k, v in aim.metrics.items())}"
        for aim in recipe.published
    )


def _validation(folder: RunFolder, recipe: Recipe | None, model: Segmentor) -> list[Measured]:
    """The best validation of the run, which is that of the model in it; none where nothing was validated."""
    found = _read(folder.metrics).get("validation") if folder.metrics.is_file() else None
    if found is None:
        return []
    split = f"split `{recipe.data.val_split}`" if recipe else "validation split"
    protocol = (
        f"{split}, during training: every labelled pixel at the masks' own resolution, whole images, one scale, "
        f"no flip, mode {model.auto_mode}, after iteration {found['step']}. These scores chose the model among the "
        "run's validations, so they flatter it."
    )
    return [_measured(folder.metrics, found, protocol, model)]


def _evaluation(path: Path, model: Segmentor) -> Measured:
    content = _read(path)
    missing = {"split", "mode", "scales", "flip", "images", "miou", "iou"} - content.keys()
    if missing:
        raise DataError(f"{path}: lacks {', '.join(sorted(missing))}; expected what `featalign eval --json` writes")
    views = (
        f"scales {', '.join(f'{scale:g}' for scale in content['scales'])}, {'flip' if content['flip'] else 'no flip'}"
    )
    window, size = content.get("window"), content.get("input_size")
    parts = [
        f"split `{content['split']}`, {content['images']} images: every labelled pixel at the masks' own resolution",
        f"windows of {window[0]} x {window[1]}" if window else "whole images",
        f"images resized to {size} first" if size else "images at their own size",
        views,
        f"mode {model.auto_mode if content['mode'] == 'auto' else content['mode']}",
        content.get("precision", "fp32"),
        *([f"views as {content['published']} published"] if content.get("published") else []),
    ]
    return _measured(path, content, ", ".join(parts) + ".", model)


def _measured(path: Path, content: Mapping[str, Any], protocol: str, model: Segmentor) -> Measured:
    unknown = [name for name in content["iou"] if name not in model.classes.names]
    if unknown:
        hint = did_you_mean(unknown[0], model.classes.names)
        raise DataError(f'{path}: scores of another model, with a class "{unknown[0]}"; {hint}')
    scores = {"mIoU": content["miou"], "pixel accuracy": content["pixel_accuracy"]}
    scores["mean accuracy"] = content["mean_accuracy"]
    scores |= {title: content[key] for key, title in TITLES.items() if content.get(key) is not None}
    scores |= {f"mIoU within {band} of boundaries": s["miou"] for band, s in content.get("boundary", {}).items()}
    scores |= {"boundary IoU": content["boundary_iou"]["miou"]} if content.get("boundary_iou") else {}
    scores |= {"boundary F": content["boundary_f"]["mean"]} if content.get("boundary_f") else {}
    return Measured(protocol, scores, content["iou"])


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, error=DataError, expected="an object")
