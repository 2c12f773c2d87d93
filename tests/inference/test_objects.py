"""From a detector's answers to objects, pictures, COCO's rows and average precision."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_files import made_content, write_files
from PIL import Image
from torch import Tensor, nn

from featalign.data.objects import ObjectDataset, open_objects
from featalign.errors import ConfigError, DataError
from featalign.figures import object_overlay
from featalign.inference import detect, score_detector
from featalign.models import Detector, create_detector
from featalign.spec import Classes

pytest.importorskip("pycocotools", reason="pip install 'featalign[detection]'")


class Knowing(nn.Module):
    """Answers with what the set says of the image, in torchvision's form."""

    def __init__(self, dataset: ObjectDataset, *, masks: bool = True, score: float = 0.75) -> None:
        super().__init__()
        self.known = [(sample["image"], sample) for sample in dataset]
        self.masks, self.score = masks, score

    def forward(self, images: list[Tensor], targets: None) -> list[dict[str, Tensor]]:
        found = []
        for image in images:
            (sample,) = [known for seen, known in self.known if torch.equal(seen.float() / 255, image)]
            single = ~sample["crowd"]
            answer = {
                "boxes": sample["boxes"].as_subclass(Tensor)[single],
                "labels": sample["labels"][single] + 1,
                "scores": torch.linspace(1, self.score, int(single.sum())),
            }
            if self.masks:
                answer["masks"] = sample["masks"].as_subclass(Tensor)[single][:, None] * 0.9
            found.append(answer)
        return found


def detector(dataset: ObjectDataset, **options) -> Detector:
    return Detector(Knowing(dataset, **options), dataset.classes, {}, in_channels=3).train()


@pytest.fixture
def dataset(tmp_path: Path) -> ObjectDataset:
    return open_objects(*write_files(tmp_path, made_content()))


@pytest.mark.parametrize("masks", [True, False])
def test_knowing_everything_scores_one(dataset, masks):
    model = detector(dataset, masks=masks)
    scores = score_detector(model, dataset, device="cpu")
    assert list(scores) == (["bbox", "segm"] if masks else ["bbox"])
    assert all(found.ap == pytest.approx(1) for found in scores.values())
    assert not model.training


def test_masks_drawn_by_points_are_scored_and_shown(dataset):
    torch.manual_seed(0)
    model = create_detector(
        "mask_rcnn",
        point_head=True,
        classes=dataset.classes,
        backbone="resnet10t",
        width=32,
        min_size=None,
        detections=5,
    )
    scores = score_detector(model, dataset, device="cpu")
    assert all(0 <= scores[kind].ap <= 1 for kind in ("bbox", "segm"))
    image = dataset[0]["image"].permute(1, 2, 0).numpy()
    objects = detect(model, image, threshold=0.0, device="cpu")
    assert objects.masks is not None and objects.masks.shape == (len(objects), *image.shape[:2])


def test_images_and_annotations_that_are_left_out_are_not_missed(tmp_path):
    content = made_content()
    content["annotations"][0]["category_id"] = 4
    content["annotations"][3]["iscrowd"] = 0
    files = write_files(tmp_path, content)
    whole = open_objects(*files, faulty="skip")
    part = open_objects(*files, faulty="skip", empty="drop")
    part.images = part.images[:1]
    assert score_detector(detector(part), part, device="cpu")["segm"].ap == pytest.approx(1)
    assert len(whole) == 3


def test_what_is_missing_is_said_before_the_first_answer(dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    model = detector(dataset)
    with pytest.raises(ConfigError, match=r"featalign\[detection\]"):
        score_detector(model, dataset, device="cpu")
    assert model.training  # it was not asked


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (Classes.numbered(3), "the model tells 3 classes apart, the data has 2: score it on data with the"),
        (Classes.named(["car", "cat"]), '"cat" is class 0 of the data and 1 of the model: number the classes'),
    ],
)
def test_classes_must_be_those_of_the_set(dataset, classes, message):
    model = Detector(Knowing(dataset), classes, {}, in_channels=3)
    with pytest.raises(DataError, match=message):
        score_detector(model, dataset)


def test_what_is_found_in_a_file(dataset):
    objects = detect(detector(dataset), dataset.folder / "1.png", device="cpu")
    assert objects.boxes.tolist() == [[1, 1, 4, 5], [10, 2, 16, 8]] and objects.labels.tolist() == [1, 0]
    assert objects.masks.dtype == np.bool_ and objects.masks.sum((1, 2)).tolist() == [12, 36]
    assert len(detect(detector(dataset), dataset.folder / "1.png", threshold=0.8, device="cpu")) == 1
    rows = objects.to_coco(image_id=1, categories=dataset.file.categories)
    assert [(row["category_id"], row["bbox"]) for row in rows] == [(8, [1, 1, 3, 4]), (3, [10, 2, 6, 6])]
    assert [row["category_id"] for row in objects.to_coco(image_id=1)] == [2, 1]


def test_nothing_found_can_be_drawn_and_written(dataset):
    pixels = np.asarray(Image.open(dataset.folder / "2.png"))
    objects = detect(detector(dataset), pixels, device="cpu")
    assert len(objects) == 0 and objects.to_coco(image_id=2) == []
    assert np.array_equal(np.asarray(objects.overlay(pixels)), pixels)


def test_other_images_are_refused(dataset):
    with pytest.raises(DataError, match=r"got an image float64 \(4, 4, 3\); expected uint8 \(H, W, 3\)"):
        detect(detector(dataset), np.zeros((4, 4, 3)))


def test_the_picture_has_classes_and_scores(dataset):
    pixels = np.asarray(Image.open(dataset.folder / "1.png"))
    objects = detect(detector(dataset), pixels, device="cpu")
    expected = object_overlay(pixels, objects.boxes, ["car 1.00", "cat 0.75"], masks=objects.masks, alpha=0.3)
    assert np.array_equal(objects.overlay(pixels, alpha=0.3), expected)
