"""Evaluations: image by image, in parts that add up, stored and read back, with what was left out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from featalign.data import open_dataset
from featalign.data.scenes import SCENE_CLASSES, SceneDataset
from featalign.errors import ConfigError, DataError
from featalign.inference import Evaluation, Predictor, evaluate, merged
from featalign.metrics import BoundaryBands, BoundaryFScore, BoundaryIoU, per_image_counts
from featalign.models import create_model

METRICS = ("boundary_iou", "boundary_f")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    model = create_model("fpn", classes=SCENE_CLASSES, backbone="resnet10t", width=8, hidden=(12,))
    return Predictor(model, device="cpu", scales=(0.5, 1), flip=True)


@pytest.fixture(scope="module")
def scenes() -> SceneDataset:
    return SceneDataset(5, (40, 48), seed=5, mask_size=(80, 96))


@pytest.fixture(scope="module")
def whole(predictor, scenes) -> Evaluation:
    return evaluate(predictor, scenes, metrics=METRICS)


def test_one_pass_counts_what_the_metrics_count(predictor, scenes, whole):
    bands = BoundaryBands(8)
    others = {"boundary_iou": BoundaryIoU(8), "boundary_f": BoundaryFScore(8)}
    rows = {}
    for i in range(len(scenes)):
        target = scenes[i]["mask"].as_subclass(torch.Tensor)
        labels = predictor.labels(scenes[i]["image"][None], size=(80, 96))[0]
        rows[scenes[i]["name"]] = per_image_counts(labels, target, 8).numpy()
        bands.update(labels, target)
        for metric in others.values():
            metric.update(labels, target)
    assert whole.names == tuple(sorted(rows))
    assert all((whole.per_image[i] == rows[name]).all() for i, name in enumerate(whole.names))
    assert list(whole.boundary) == [3, 5, 8, 12]
    for width, expected in bands.scores().items():
        assert whole.boundary[width].to_json() == expected.to_json()
    for name, metric in others.items():
        assert whole.metrics[name].metric.scores().to_json() == metric.scores().to_json()


def values(found: Evaluation) -> dict[str, object]:
    """Everything but what the clock and the memory said."""
    content = found.to_json()
    for name in ("seconds_per_image", "peak_memory"):
        content.pop(name)
    content["counts"].pop("seconds")
    return content


def test_shards_add_up_to_the_whole(predictor, scenes, whole):
    parts = [evaluate(predictor, scenes, metrics=METRICS, rank=rank, ranks=3) for rank in range(3)]
    assert [part.images for part in parts] == [2, 2, 1]
    for order in ((0, 1, 2), (2, 0, 1)):
        assert values(merged(parts[i] for i in order)) == values(whole)
    with pytest.raises(DataError, match="both parts"):
        merged([parts[0], parts[0]])
    with pytest.raises(DataError, match="score all shards alike"):
        merged([parts[0], evaluate(predictor, scenes, rank=1, ranks=3)])
    with pytest.raises(ConfigError, match="rank"):
        evaluate(predictor, scenes, rank=3, ranks=3)


def test_stored_and_read_back(whole):
    text = json.dumps(whole.to_json(), allow_nan=False)
    again = Evaluation.from_json(json.loads(text))
    assert again.to_json() == whole.to_json()
    assert again.per_image.dtype == np.int64 and (again.per_image == whole.per_image).all()
    assert again.scores == whole.scores or again.scores.absent
    with pytest.raises(DataError, match="featalign eval --json"):
        Evaluation.from_json({"miou": 0.5})


def test_unknown_metric(predictor, scenes):
    with pytest.raises(ConfigError, match="did you mean"):
        evaluate(predictor, scenes, metrics=["boundary_uoi"])


def test_unreadable_images_are_counted(predictor, tmp_path):
    for part in ("images", "masks"):
        (tmp_path / "test" / part).mkdir(parents=True)
    (tmp_path / "classes.json").write_text(json.dumps(SCENE_CLASSES.to_json()))
    for name in ("a", "b", "c"):
        Image.fromarray(np.zeros((32, 40, 3), np.uint8)).save(tmp_path / "test" / "images" / f"{name}.png")
        Image.fromarray(np.full((32, 40), 1, np.uint8)).save(tmp_path / "test" / "masks" / f"{name}.png")
    broken = tmp_path / "test" / "images" / "b.png"
    broken.write_bytes(broken.read_bytes()[:50])
    with pytest.raises(DataError, match=r"b\.png"):
        evaluate(predictor, open_dataset(tmp_path, "test"))
    found = evaluate(predictor, open_dataset(tmp_path, "test", on_error="skip"))
    assert found.names == ("a", "c") and list(found.skipped) == ["b"] and "b.png" in found.skipped["b"]
    assert len(found.seconds) == 2
