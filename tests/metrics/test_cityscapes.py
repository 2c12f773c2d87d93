"""Cityscapes' own evaluation, run here and as stored in the golden vectors, gives our IoU, category IoU and iIoU."""

from __future__ import annotations

import copy
import importlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from featalign.metrics import CITYSCAPES_INSTANCE_SIZES, ConfusionMatrix, InstanceIoU, merge_classes, scores

pytest.importorskip("cityscapesscripts", reason="pip install cityscapesscripts")
from cityscapesscripts.helpers.labels import labels as ALL_LABELS

LABELS = [label for label in ALL_LABELS if label.id >= 0]
CATEGORIES = [label.categoryId for label in LABELS]
NAMES = {label.categoryId: label.category for label in LABELS}
VOID = torch.tensor([label.ignoreInEval for label in LABELS])
INSTANCES = [label.id for label in LABELS if label.hasInstances]
SIZES = [CITYSCAPES_INSTANCE_SIZES.get(LABELS[i].name, 1.0) for i in INSTANCES]  # caravans and trailers are never true

Images = list[tuple[Tensor, Tensor, Tensor]]


def our_scores(images: Images) -> dict[str, dict[str, float]]:
    """Over all 34 ids: those left out of the evaluation are void in the truth, and wrong where predicted."""
    confusion = ConfusionMatrix(len(LABELS))
    instances = InstanceIoU(len(LABELS), INSTANCES, mean_sizes=SIZES, categories=CATEGORIES)
    for pred, truth, numbers in images:
        target = truth.masked_fill(VOID[truth.long()], 255)
        confusion.update(pred, target)
        instances.update(pred, target, numbers.where(numbers > 1000, 0))
    of_valid = [0 if label.ignoreInEval else label.categoryId for label in LABELS]  # 0 is "void"
    by_category = scores(merge_classes(confusion.matrix, of_valid)).iou
    found = instances.scores()
    return {
        "classScores": {label.name: confusion.scores().iou[label.id] for label in LABELS},
        "classInstScores": {label.name: found.iou[label.id] for label in LABELS},
        "categoryScores": {NAMES[i]: value for i, value in enumerate(by_category)},
        "categoryInstScores": {NAMES[i]: value for i, value in enumerate(found.category_iou)},
    }


def compare(ours: dict[str, dict[str, float]], theirs: dict[str, Any]) -> int:
    """Where we give no score, for want of truth, theirs is 0 if the class was predicted, else nan. Counts the equal."""
    equal = 0
    for table, values in ours.items():
        for name, value in values.items():
            reference = float(theirs[table][name])
            if math.isnan(value):
                assert math.isnan(reference) or reference == 0, (table, name)
            else:
                assert value == pytest.approx(reference, rel=1e-9, abs=1e-12), (table, name)
                equal += 1
    return equal


def made_images(count: int) -> Images:
    """Blocks of every id; regions of classes with instances carry class * 1000 + number, some the bare class."""
    rng = np.random.default_rng(7)
    images = []
    for _ in range(count):
        truth = rng.integers(len(LABELS), size=(12, 16)).repeat(8, 0).repeat(9, 1)
        number = rng.integers(4, size=(6, 8)).repeat(16, 0).repeat(18, 1)
        apart = np.isin(truth, INSTANCES) & (number > 0)
        numbers = np.where(apart, truth * 1000 + number, truth)
        pred = np.where(rng.random(truth.shape) < 0.6, truth, rng.integers(len(LABELS), size=truth.shape))
        images.append(tuple(torch.from_numpy(maps.astype(np.int32)) for maps in (pred, truth, numbers)))
    return images


def test_equals_the_published_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(np, "in1d"):  # gone from numpy 2.4
        monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    published = importlib.import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")

    options = copy.copy(published.args)
    options.quiet, options.JSONOutput, options.evalInstLevelScore = True, False, True
    options.evalLabels = []
    images = made_images(3)
    files: list[list[str]] = [[], []]
    for index, (pred, truth, numbers) in enumerate(images):
        for kind, maps in (("pred", pred), ("labelIds", truth), ("instanceIds", numbers)):
            depth = np.uint16 if kind == "instanceIds" else np.uint8
            Image.fromarray(maps.numpy().astype(depth)).save(tmp_path / f"{index}_{kind}.png")
        files[0].append(str(tmp_path / f"{index}_pred.png"))
        files[1].append(str(tmp_path / f"{index}_labelIds.png"))
    assert compare(our_scores(images), published.evaluateImgLists(*files, options)) == 19 + 8 + 7 + 2


@pytest.mark.golden
def test_equals_the_golden_vectors(golden_dir: Path) -> None:
    folder = golden_dir / "metric_cityscapes"
    if not folder.is_dir():
        pytest.skip(f"{golden_dir} holds no metric_cityscapes")
    meta, maps = json.loads((folder / "meta.json").read_text()), load_file(folder / "io.safetensors")
    for case in meta["cases"]:
        name = case["case"]
        keys = ("pred_label_ids", "gt_label_ids", "gt_instance_ids")
        images = list(zip(*(maps[f"{name}/{key}"] for key in keys), strict=True))
        assert compare(our_scores(images), case["results"]) >= 8, name
        whole = ConfusionMatrix(len(LABELS))
        for pred, truth, _ in images:
            whole.update(pred, truth)
        assert torch.equal(whole.matrix, maps[f"{name}/conf_matrix"])
