"""The commands at work on detectors and panoptic networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from featalign.cli.console import conclude, out, percent, progress, save_json, table, verdict
from featalign.cli.explaining import write_pictures
from featalign.data import DEFAULT_MAX_PIXELS, OnError
from featalign.data.objects import AnyObjects, AnySegments, list_object_splits
from featalign.data.objects.splits import AnnotationKind
from featalign.errors import ConfigError
from featalign.inference import collect_images, score_detector, score_panoptic
from featalign.inference.explanation import explain_detector
from featalign.inference.listing import Shard
from featalign.inference.object_files import THRESHOLD, predict_object_files
from featalign.metrics import ConfusionMatrix, DetectionScores, PanopticScores
from featalign.metrics.detection import Kind
from featalign.models import load_detector
from featalign.models.storage import CONFIG, model_folder, read_config
from featalign.training import Recipe, load_recipe
from featalign.training.object_splits import examine, forbidding, open_object_split
from featalign.training.recipe_types import PANOPTIC
from featalign.training.run_folder import RunFolder

_AVERAGES = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_small": "small",
    "ap_medium": "medium",
    "ap_large": "large",
}


def finds_objects(run: Path) -> bool:
    """Whether ``run`` holds a detector or a panoptic network; False also where there is no model at all."""
    if not run.is_dir() or not any((folder / CONFIG).is_file() for folder in (run, run / "model")):
        return False
    return "detector" in read_config(model_folder(run) / CONFIG)


def require_options(context: typer.Context, run: Path, *, known: set[str]) -> None:
    """Raises ConfigError for an option on the command line that means nothing to a network that finds objects."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if source is not None and source.name == "COMMANDLINE" and parameter.name not in known:
            raise ConfigError(
                f"{run} finds objects; {parameter.opts[-1]} is for networks that label every pixel, leave it out"
            )


def refuse(run: Path, why: str) -> None:
    """Raises ConfigError if ``run`` finds objects."""
    if finds_objects(run):
        raise ConfigError(f"{run} finds objects: {why}")


def predict_objects(
    run: Path,
    sources: list[Path],
    output: Path,
    *,
    threshold: float | None,
    device: str,
    max_pixels: int | None,
    shard: str | None,
    resume: bool,
) -> None:
    """Write what is found in all images. Raises FeatalignError, or typer.Exit with code 2 if one failed."""
    model = load_detector(run)
    if threshold is not None and model.config["name"] in PANOPTIC:
        raise ConfigError(
            f"{run} divides images into segments, by its own rules; --threshold is for detectors, leave it out"
        )
    images, part = collect_images(sources), Shard.parse(shard) if shard else None
    failures = predict_object_files(
        model,
        images,
        output,
        threshold=THRESHOLD if threshold is None else threshold,
        device=device,
        max_pixels=max_pixels or DEFAULT_MAX_PIXELS,
        shard=part,
        resume=resume,
        progress=progress,
    )
    conclude(failures, images=len(part.of(images) if part else images), folder=output)


def score_objects(run: Path, data: Path, *, split: str | None, device: str, json: Path | None) -> None:
    """Score a split, show the numbers and save them. Raises FeatalignError."""
    model, recipe = load_detector(run), _recipe(run)
    chosen = split or recipe.test.split or recipe.data.test_split
    dataset = open_object_split(
        data, recipe.data, chosen, kind="panoptic" if recipe.task == "panoptic" else "instances"
    )
    names = dataset.classes.names
    content = {"split": chosen, "images": len(dataset), "names": list(names)}
    if isinstance(dataset, AnySegments):
        confusion = ConfusionMatrix(len(dataset.classes))
        quality = score_panoptic(model, dataset, confusion=confusion, device=device, progress=progress)
        labelled = confusion.scores() if confusion.matrix.any() else None
        _show_quality(quality, names, None if labelled is None else labelled.iou)
        content |= quality.to_json()
        if labelled is not None:
            present = {name: iou for name, iou in zip(names, labelled.iou, strict=True) if not math.isnan(iou)}
            content |= {"miou": labelled.miou, "iou": present}
            out.print(f"mIoU {percent(labelled.miou)}")
        save_json(json, content)
    else:
        found = score_detector(model, dataset, device=device, progress=progress)
        _show_averages(found, dataset)
        save_json(json, {**content, **{kind: scores.to_json() for kind, scores in found.items()}})
    out.print(f"{len(dataset)} images")


def check_objects_of(
    root: Path,
    kinds: Sequence[AnnotationKind],
    options: dict[str, object],
    *,
    annotations: str | None,
    channels: int,
    on_error: OnError,
    max_pixels: int,
) -> dict[str, Any]:
    """Read every file of every split, show what is wrong or worth knowing, and give it as plain values.

    ``annotations``: where the JSON files lie, if not as COCO has them.
    """
    recipe = Recipe.from_content({"data": {"options": options, "channels": channels, "on_error": on_error}}).data
    counted = recipe.model_copy(update={"on_error": "skip"})  # what is wrong is told, by the file
    findings, splits, errors = [], {}, 0
    for kind in kinds:
        names = list_object_splits(root, kind=kind, annotations=annotations)
        for split in progress(names, total=len(names), description="checking"):
            found = examine(root, recipe, split, kind=kind, max_pixels=max_pixels)
            refused = forbidding(found, recipe, kind=kind)
            errors += len(refused)
            findings += [one if one in refused else replace(one, severity="note") for one in found]
            splits[f"{kind}_{split}"] = len(open_object_split(root, counted, split, kind=kind))
    out.print("layout: coco")
    table([(name, str(images)) for name, images in splits.items()], header=("split", "images"))
    for finding in sorted(findings, key=lambda finding: finding.severity):
        out.print(f"{finding.severity}: {finding}")
    out.print(verdict(errors))
    return {"splits": splits, "errors": errors, "findings": [finding.to_json() for finding in findings]}


def explain_objects(run: Path, image: Path, folder: Path, *, device: str, max_pixels: int | None) -> None:
    """Write the pictures into ``folder`` and list them. Raises FeatalignError."""
    explanation = explain_detector(
        load_detector(run), image, device=device, max_pixels=max_pixels or DEFAULT_MAX_PIXELS
    )
    write_pictures(
        explanation,
        folder,
        without_fields="this pyramid predicts no offset field: its levels are joined without one; see its feature maps",
    )


def _recipe(run: Path) -> Recipe:
    """That of the run; of a model folder, one that says no more than which network it is."""
    file = RunFolder(run).recipe
    if file.is_file():
        return load_recipe(file)
    name = read_config(model_folder(run) / CONFIG)["detector"]["name"]
    return Recipe.from_content({"model": {"name": name}})


def _show_averages(found: dict[Kind, DetectionScores], dataset: AnyObjects) -> None:
    titles = {"bbox": "box", "segm": "mask"}
    rows = [
        (name, *(percent(scores.class_ap[i]) for scores in found.values()))
        for i, name in enumerate(dataset.classes.names)
    ]
    table(rows, header=("class", *(f"{titles[kind]} AP" for kind in found)))
    out.print()
    table(
        [(titles[kind], *(percent(getattr(scores, name)) for name in _AVERAGES)) for kind, scores in found.items()],
        header=("", *_AVERAGES.values()),
    )


def _show_quality(found: PanopticScores, names: Sequence[str], iou: Sequence[float] | None) -> None:
    """``iou``: of each class, where the network says the class of each pixel besides."""
    parts = {"all": found.all, "things": found.things, "stuff": found.stuff}
    rows = [
        [name, *map(percent, (q.pq, q.sq, q.rq))]
        for name, q in [*zip(names, found.classes, strict=True), *parts.items()]
    ]
    header = ["class", "PQ", "SQ", "RQ"]
    if iou is not None:
        for row, value in zip([header, *rows], ["IoU", *map(percent, iou), "", "", ""], strict=True):
            row.append(value)
    table(rows, header=header)
