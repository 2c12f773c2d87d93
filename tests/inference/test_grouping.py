"""Category IoU and iIoU of a Cityscapes tree: as Cityscapes' own script has them, in one part or in several."""

from __future__ import annotations

import copy
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fabricate import fabricate
from PIL import Image
from torch import Tensor
from torch.nn.functional import one_hot

from featalign.cli import main
from featalign.data import check_data, class_table, open_dataset
from featalign.errors import DataError
from featalign.inference import Evaluation, Predictor, evaluate, merged
from featalign.models import create_model, save_model
from featalign.reports import Ranked, compare, comparison_report, evaluation_report
from featalign.spec import Classes, Normalization

DRAWN = torch.tensor([0, 2, 10, 13, 18])
TRUTH = Path("gtFine/val/aachen")


class Reader:
    """Reads what :func:`fabricate.draw` drew from the brightness; where its noise is high, takes another class of the
    same category or not."""

    classes: Classes = class_table("cityscapes").classes
    in_channels, normalization = 3, Normalization((0.0,), (1.0,))

    def __init__(self, *, confused: bool = False) -> None:
        self.limit = 9 if confused else 16

    def __call__(self, images: Tensor, size: tuple[int, int] | None = None, mode: str = "auto") -> Tensor:
        values = (images[:, 0] * 255).round().long()
        band, noise = values // 30, values % 30
        band = torch.where(noise > self.limit, 7 - band, torch.where(noise > 13, band * 2, band)) % 5
        return one_hot(DRAWN[band], 19).movedim(-1, 1).float()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return fabricate("cityscapes", tmp_path_factory.mktemp("cityscapes"), images=3)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(Reader(), device="cpu")


@pytest.fixture(scope="module")
def found(root, predictor) -> Evaluation:
    return evaluate(predictor, open_dataset(root, "val"))


def values(found: Evaluation) -> dict[str, object]:
    """Everything but what the clock and the memory said."""
    content = found.to_json()
    del content["seconds_per_image"], content["peak_memory"], content["counts"]["seconds"]
    return content


def test_equals_the_published_script(root, predictor, found, tmp_path, monkeypatch):
    pytest.importorskip("cityscapesscripts", reason="pip install cityscapesscripts")
    if not hasattr(np, "in1d"):  # gone from numpy 2.4
        monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    published = importlib.import_module("cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling")
    options = copy.copy(published.args)
    options.quiet, options.JSONOutput, options.evalInstLevelScore, options.evalLabels = True, False, True, []
    samples = open_dataset(root, "val")
    stored = np.array(class_table("cityscapes").stored, np.uint8)
    files = [tmp_path / f"{sample['name']}.png" for sample in samples]
    for file, sample in zip(files, samples, strict=True):
        Image.fromarray(stored[predictor.labels(sample["image"][None])[0].numpy()]).save(file)
    truths = [str(pair.mask) for pair in samples.samples]
    theirs = published.evaluateImgLists([str(file) for file in files], truths, options)
    ours, groups = found.to_json(), found.groups
    for mean, name in (
        ("miou", "averageScoreClasses"),
        ("category_iou", "averageScoreCategories"),
        ("iiou", "averageScoreInstClasses"),
        ("category_iiou", "averageScoreInstCategories"),
    ):
        assert ours[mean] == pytest.approx(float(theirs[name]), rel=1e-9) and 0.2 < ours[mean] < 0.99, mean
    for mine, table, count in (
        (ours["iou"], "classScores", 5),
        (ours["instances"]["iiou"], "classInstScores", 2),
        (ours["categories"]["iou"], "categoryScores", 4),
        (ours["categories"]["iiou"], "categoryInstScores", 1),
    ):
        assert len(mine) == count
        for name, value in mine.items():
            assert value == pytest.approx(float(theirs[table][name]), rel=1e-9), (table, name)
    assert len({groups.means["category_iou"], groups.means["iiou"], groups.means["category_iiou"], ours["miou"]}) == 4


def test_parts_add_up_and_are_read_back(root, predictor, found):
    parts = [evaluate(predictor, open_dataset(root, "val"), rank=rank, ranks=2) for rank in range(2)]
    stored = [Evaluation.from_json(json.loads(json.dumps(part.to_json(), allow_nan=False))) for part in parts]
    assert values(merged(parts)) == values(merged(reversed(stored))) == values(found)
    assert Evaluation.from_json(found.to_json()).to_json() == found.to_json()
    without = fabricate_without(root.parent / "bare", 3)
    bare = evaluate(predictor, open_dataset(without, "val"), rank=1, ranks=2)
    with pytest.raises(DataError, match="only one has instances"):
        merged([parts[0], bare])


def fabricate_without(root: Path, missing: int) -> Path:
    """The same tree without the first few files of instances."""
    fabricate("cityscapes", root, images=3)
    for file in sorted((root / TRUTH).glob("*_instanceIds.png"))[:missing]:
        file.unlink()
    return root


def test_files_of_instances_are_optional(predictor, found, tmp_path):
    for missing in (3, 1):
        part = fabricate_without(tmp_path / str(missing), missing)
        bare = evaluate(predictor, open_dataset(part, "val"))
        assert bare.instances is None and list(bare.groups.means) == ["category_iou"]
        assert bare.groups.category_iou == pytest.approx(found.groups.category_iou, nan_ok=True)
        notes = [str(finding) for finding in check_data(part).findings if "iIoU" in str(finding)]
        assert len(notes) == (missing == 1)


def test_instances_are_numbers_of_objects(root, tmp_path):
    samples = open_dataset(root, "val")
    assert [samples.classes.names[i] for i in samples.instance_classes][:2] == ["person", "rider"]
    numbers = samples.instances(0)
    assert numbers is not None and numbers.dtype == np.int32
    assert set(np.unique(numbers)) == {0, 26001, 26002, 26003, 33001, 33002, 33003} & {0, *np.unique(numbers)}
    assert (np.isin(samples.ids(0), (13, 18)) >= (numbers > 0)).all() and (numbers > 0).any()
    assert open_dataset(fabricate("camvid", tmp_path), "val").instances(0) is None


@pytest.mark.parametrize("fault", ["damaged", "size"])
def test_unreadable_instances(root, predictor, tmp_path, fault):
    fabricate("cityscapes", tmp_path, images=3)
    file = sorted((tmp_path / TRUTH).glob("*_instanceIds.png"))[1]
    if fault == "damaged":
        file.write_bytes(file.read_bytes()[:60])
    else:
        Image.fromarray(np.zeros((8, 9), np.uint16)).save(file)
    with pytest.raises(DataError, match=r"instanceIds\.png"):
        evaluate(predictor, open_dataset(tmp_path, "val"))
    found = evaluate(predictor, open_dataset(tmp_path, "val", on_error="skip"))
    assert found.images == 2 == len(found.seconds) and len(found.skipped) == 1
    assert "instanceIds.png" in next(iter(found.skipped.values()))


def test_comparison(root, found):
    blind = Predictor(Reader(confused=True), device="cpu")
    other = evaluate(blind, open_dataset(root, "val"))
    stored = Evaluation.from_json(json.loads(json.dumps(other.to_json())))
    compared = compare(found, stored, resamples=100)
    rows = {row.name: row for row in compared.scores}
    for name, mean in (("category IoU", "category_iou"), ("iIoU", "iiou"), ("category iIoU", "category_iiou")):
        row = rows[name]
        assert (row.a, row.b) == pytest.approx((found.groups.means[mean], other.groups.means[mean]), rel=1e-12)
        assert row.a != row.b and row.interval.low <= row.interval.difference <= row.interval.high
        assert row.interval.difference == pytest.approx(row.a - row.b)
    page = comparison_report(compared, names=("a", "b"), settings={}, versions={})
    assert all(f"<td>{name}</td>" in page for name in ("category IoU", "iIoU", "category iIoU"))


def test_report(found):
    text = evaluation_report(found, Ranked.of(found), title="x", settings={}, versions={})
    assert "Categories" in text and "vehicle" in text
    for title, mean in (("category IoU", "category_iou"), ("iIoU", "iiou"), ("category iIoU", "category_iiou")):
        assert title in text and f"{100 * found.groups.means[mean]:.2f}" in text


def test_command(root, tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    model = create_model("fpn", classes=class_table("cityscapes").classes, backbone="resnet10t", width=8, hidden=(12,))
    save_model(model, tmp_path / "model")
    scored = ("eval", tmp_path / "model", "--data", root, "--split", "val", "--json")
    parts = [tmp_path / "1.json", tmp_path / "2.json"]
    run(monkeypatch, *scored, tmp_path / "alone.json")
    shown = capsys.readouterr().out
    assert "category IoU" in shown and "category iIoU" in shown
    for i, part in enumerate(parts, start=1):
        run(monkeypatch, *scored, part, "--shard", f"{i}/2")
    run(monkeypatch, "merge-scores", *parts, "--json", tmp_path / "all.json")
    alone, both = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("alone", "all"))
    for content in (alone, both):
        del content["seconds_per_image"], content["peak_memory"], content["counts"]["seconds"]
    assert alone == both and {"category_iou", "iiou", "category_iiou"} <= set(alone)


def run(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["featalign", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        main()
    assert not done.value.code
