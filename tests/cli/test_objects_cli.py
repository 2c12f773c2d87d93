"""The commands on detectors and panoptic networks: what they write, and what they refuse."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from fabricate import fabricate
from object_data import write_objects
from PIL import Image

from featalign.cli import main
from featalign.models import load_detector, save_detector

pytest.importorskip("pycocotools", reason="needs featalign[detection]")

OPTIONS = {"min_size": None, "anchors": [8, 16, 32, 64, 128], "detections": 10}
RECIPE = {
    "model": {"align": "fapn", "backbone": "resnet10t", "width": 16, "options": OPTIONS},
    "data": {"whole": True, "jitter": 0.0, "workers": 0},
    "training": {"iterations": 2, "batch": 2, "validate_every": 2, "log_every": 1, "optimizer": "adamw", "lr": 0.001},
}


@pytest.fixture
def featalign(monkeypatch):
    """Runs the command line; gives the exit code."""

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["featalign", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        return int(done.value.code or 0)

    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_objects(tmp_path_factory.mktemp("objects"), images=3)


@pytest.fixture(scope="module")
def recipes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recipes")
    for name in ("mask_rcnn", "panoptic_fpn"):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({**RECIPE, "model": {"name": name, **RECIPE["model"]}}))
    return folder


@pytest.fixture(scope="module")
def runs(data, recipes, tmp_path_factory) -> dict[str, Path]:
    """A run of each kind."""
    from featalign.training import load_recipe
    from featalign.training.run import train

    root = tmp_path_factory.mktemp("runs")
    for path in recipes.glob("*.yaml"):
        train(load_recipe(path), data=data, out=root / path.stem)
    return {path.stem: path for path in root.iterdir()}


def test_train_goes_on_where_it_ended(featalign, data, recipes, tmp_path, capsys):
    recipe = recipes / "mask_rcnn.yaml"
    assert featalign("train", recipe, "--data", data, "--out", tmp_path / "run", "--set", "training.iterations=1") == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert {"loss", "loss_mask", "loss_objectness"} <= set(rows[0])
    validations = [row for row in rows if row["kind"] == "validation"]
    assert validations and {"ap", "box", "mask"} <= set(validations[-1])
    assert load_detector(tmp_path / "run").config["name"] == "mask_rcnn"
    assert featalign("train", recipe, "--data", data, "--out", tmp_path / "run") == 2
    assert "training.iterations" in capsys.readouterr().err


def test_train_says_what_is_missing_before_the_first_step(featalign, data, recipes, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    assert featalign("train", recipes / "mask_rcnn.yaml", "--data", data, "--out", tmp_path / "run") == 2
    assert "pip install 'featalign[detection]'" in capsys.readouterr().err
    assert (tmp_path / "run" / "log.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("name", "found"), [("mask_rcnn", {"bbox", "segm"}), ("panoptic_fpn", {"all", "things", "stuff"})]
)
def test_eval(featalign, runs, data, tmp_path, capsys, name, found):
    assert featalign("eval", runs[name], "--data", data, "--split", "val", "--json", tmp_path / "scores.json") == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["images"] == 3 and found <= set(scores) and scores["names"][:2] == ["disc", "square"]
    assert "disc" in capsys.readouterr().out
    assert featalign("eval", runs[name], "--data", data, "--split", "val", "--scales", "0.5,1") == 2
    assert "--scales is for networks that label every pixel" in capsys.readouterr().err
    assert featalign("merge-scores", tmp_path / "scores.json") == 2
    assert "holds the scores of a network that finds objects" in capsys.readouterr().err


def test_predict_objects(featalign, runs, data, tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "bad.png").write_text("not an image")
    Image.open(data / "val" / "001.png").save(tmp_path / "images" / "good.png")
    out = tmp_path / "out"
    assert featalign("predict", runs["mask_rcnn"], tmp_path / "images", "--out", out, "--threshold", "0.01") == 2
    content = json.loads((out / "objects" / "good.json").read_text())
    assert (content["height"], content["width"]) == (64, 64)
    assert all(row["category"] in ("disc", "square") and row["score"] >= 0.01 for row in content["objects"])
    assert Image.open(out / "overlays" / "good.png").height == 64
    assert "bad.png" in (out / "failures.jsonl").read_text()
    before = (out / "objects" / "good.json").stat().st_mtime_ns
    assert featalign("predict", runs["mask_rcnn"], data / "val", "--out", out, "--threshold", "0.01", "--resume") == 0
    assert (out / "objects" / "good.json").stat().st_mtime_ns == before
    assert len(list((out / "objects").glob("*.json"))) == 4
    assert featalign("predict", runs["mask_rcnn"], data / "val", "--out", out, "--threshold", "0.9", "--resume") == 2


def test_resume_knows_what_its_files_were_made_by(featalign, runs, data, tmp_path):
    """A file of an earlier run with another threshold, or of other weights, is not taken for one of this."""
    run, images, out = runs["mask_rcnn"], data / "val", tmp_path / "out"

    def found() -> list[bytes]:
        return [path.read_bytes() for path in sorted((out / "objects").glob("*.json"))]

    assert featalign("predict", run, images, "--out", out, "--threshold", "0") == 0
    earlier = found()
    assert featalign("predict", run, images, "--out", out, "--threshold", "1") == 0
    wanted = found()
    assert wanted != earlier
    (out / "objects" / "002.json").write_bytes(earlier[1])  # as if this run had been killed before
    (out / "overlays" / "003.png").unlink()
    assert featalign("predict", run, images, "--out", out, "--threshold", "1", "--resume") == 0
    assert found() == wanted and (out / "overlays" / "003.png").is_file()
    other = load_detector(run)
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    save_detector(other, tmp_path / "other")
    assert featalign("predict", tmp_path / "other", images, "--out", out, "--threshold", "1", "--resume") == 2


def test_one_image_too_many_for_memory_does_not_stop_the_others(featalign, runs, data, tmp_path, monkeypatch):
    def find(model, pixels, **options):
        raise MemoryError

    monkeypatch.setattr("featalign.inference.object_files.find", find)
    assert featalign("predict", runs["mask_rcnn"], data / "val", "--out", tmp_path) == 2
    assert (tmp_path / "failures.jsonl").read_text().count("memory is not enough") == 3


def test_segments_have_no_threshold(featalign, runs, data, tmp_path, capsys):
    """It would be left out of account without a word."""
    image, out = data / "val" / "001.png", tmp_path / "out"
    assert featalign("predict", runs["panoptic_fpn"], image, "--out", out, "--threshold", "0.9") == 2
    assert "--threshold is for detectors, leave it out" in capsys.readouterr().err
    assert not out.exists()


def test_predict_segments(featalign, runs, data, tmp_path):
    assert featalign("predict", runs["panoptic_fpn"], data / "val" / "001.png", "--out", tmp_path) == 0
    content = json.loads((tmp_path / "segments" / "001.json").read_text())
    numbers = np.asarray(Image.open(tmp_path / "segments" / "001.png").convert("RGB")).astype(int) @ (1, 256, 256**2)
    for row in content["segments"]:
        assert (numbers == row["id"]).sum() == row["area"] > 0
    assert set(np.unique(numbers)) - {0} == {row["id"] for row in content["segments"]}


def test_explain_info_and_check(featalign, runs, data, tmp_path, capsys):
    image = data / "val" / "001.png"
    assert featalign("explain", runs["mask_rcnn"], image, "--out", tmp_path / "why") == 0
    assert (tmp_path / "why" / "overview.png").is_file() and len(list((tmp_path / "why").iterdir())) > 2
    assert featalign("info", runs["panoptic_fpn"]) == 0
    assert "panoptic_fpn" in capsys.readouterr().out
    assert featalign("check-data", data) == 0
    assert "panoptic_train" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        ("export", "RUN", "--to", "onnx", "--out", "x.onnx"),
        ("optimize", "RUN"),
        ("compare", "RUN", "RUN", "--data", "DATA", "--out", "compared"),
        ("share", "RUN", "--to", "shared"),
    ],
)
def test_what_cannot_be_done_says_why(featalign, runs, data, tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    places = {"RUN": runs["mask_rcnn"], "DATA": data}
    assert featalign(*(places.get(part, part) for part in command)) == 2
    assert "finds objects" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.query=mixed", "training.query is for networks that label pixels"),
        ("loss.dice=1.0", "brings losses of its own"),
        ("data.depth=16", "8 bits"),
        ("data.cache=true", "read anew each time"),
        ("model.options={corners: 3}", "corners"),
        ("model.options={anchors: [8, 16]}", "five sizes"),
        ("model.align=fapm", "fapm"),
        ("data.train_split=tain", "train"),
        ("data.layout=voc", "voc"),
    ],
)
def test_wrong_recipes(featalign, data, recipes, tmp_path, capsys, override, message):
    recipe = recipes / "mask_rcnn.yaml"
    assert featalign("train", recipe, "--data", data, "--out", tmp_path / "run", "--set", override) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_images_are_needed_and_annotations_can_be_left_out(featalign, recipes, tmp_path, capsys):
    root = write_objects(tmp_path / "set", images=3)
    recipe, skip = recipes / "mask_rcnn.yaml", ("--set", "data.on_error=skip")
    file = root / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["segmentation"] = None
    file.write_text(json.dumps(content))
    assert featalign("train", recipe, "--data", root, "--out", tmp_path / "a") == 2
    assert "data.on_error=skip leaves out the annotations" in " ".join(capsys.readouterr().err.split())
    assert featalign("train", recipe, "--data", root, "--out", tmp_path / "a", *skip) == 0
    (root / "train" / "002.png").unlink()
    assert featalign("train", recipe, "--data", root, "--out", tmp_path / "b", *skip) == 2
    assert "002.png" in capsys.readouterr().err
    panoptic = recipes / "panoptic_fpn.yaml"
    assert featalign("train", panoptic, "--data", root, "--out", tmp_path / "c", *skip) == 2
    said = capsys.readouterr().err
    assert "002.png" in said and "on_error" not in said


def test_check_data_tells_every_fault(featalign, tmp_path, capsys):
    root = write_objects(tmp_path / "set", images=3)
    (root / "val" / "002.png").write_bytes(b"")
    file = root / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"] = [1, 1, 0, 5]
    file.write_text(json.dumps(content))
    out = tmp_path / "found.json"
    assert featalign("check-data", root, "--json", out) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert "has no area" in said and "002.png" in said
    assert json.loads(out.read_text())["splits"]["instances_train"] == 3
    assert featalign("check-data", root, "--on-error", "skip", "--json", out) == 2
    found = json.loads(out.read_text())
    assert {row["severity"] for row in found["findings"] if "has no area" in row["message"]} == {"note"}
    assert found["errors"] == 2  # the image, of both kinds of files
    assert featalign("check-data", root, "--depth", "16") == 2


def test_check_data_of_files_of_ones_own(featalign, tmp_path, capsys):
    root, out = write_objects(tmp_path / "set", images=3), tmp_path / "found.json"
    (root / "annotations").rename(root / "own")
    (root / "train").rename(root / "photos")
    assert featalign("check-data", root, "--layout", "coco") == 2
    assert "annotations/instances_*.json" in capsys.readouterr().err
    images = ("--layout-option", "images=photos", "--json", out)
    assert featalign("check-data", root, "--layout-option", "annotations=own/instances_{split}.json", *images) == 0
    assert json.loads(out.read_text())["splits"] == {"instances_train": 3, "instances_val": 3}
    assert featalign("check-data", root, "--layout-option", "annotations=own/instances_train.json", *images) == 0
    assert json.loads(out.read_text())["splits"] == {"instances_all": 3}
    panoptic = (
        "--layout-option",
        "annotations=own/panoptic_train.json",
        "--layout-option",
        "segments=own/panoptic_train",
    )
    assert featalign("check-data", root, *panoptic, *images) == 0
    assert json.loads(out.read_text())["splits"] == {"panoptic_all": 3}
    assert featalign("check-data", root, "--layout-option", f"annotations={root}/own/panoptic_train.json") == 2
    assert "a path under" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["annotations: 'own/{split.year}.json'", "segments: 'own/{year}'"])
def test_braces_that_are_no_split(featalign, data, recipes, tmp_path, capsys, option):
    sets = ("--set", f"data.options={{{option}}}")
    assert featalign("train", recipes / "panoptic_fpn.yaml", "--data", data, "--out", tmp_path / "run", *sets) == 2
    assert "braces may hold nothing but split" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_data_without_annotations(featalign, recipes, tmp_path, capsys):
    (tmp_path / "train").mkdir()
    assert featalign("train", recipes / "mask_rcnn.yaml", "--data", tmp_path, "--out", tmp_path / "run") == 2
    assert "annotations/instances_*.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mask_rcnn", "panoptic_fpn"])
def test_cityscapes_files_of_objects(featalign, recipes, tmp_path, name):
    root = fabricate("cityscapes", tmp_path / "cityscapes")
    assert featalign("train", recipes / f"{name}.yaml", "--data", root, "--out", tmp_path / "run") == 0
    scores = tmp_path / "scores.json"
    assert featalign("eval", tmp_path / "run", "--data", root, "--split", "val", "--json", scores) == 0
    assert json.loads(scores.read_text())["images"] == 2


def test_masks_alone_teach_maskformer_and_no_detector(featalign, recipes, tmp_path, capsys):
    pytest.importorskip("transformers", reason="needs featalign[maskformer]")
    root, recipe = fabricate("folder", tmp_path / "data"), recipes / "mask_rcnn.yaml"
    options = ("model.name=maskformer", "model.options={min_size: null, detections: 6}")
    sets = [part for option in options for part in ("--set", option)]
    assert featalign("train", recipe, "--data", root, "--out", tmp_path / "run", *sets) == 0
    assert "mIoU" in capsys.readouterr().err
    scores = tmp_path / "scores.json"
    assert featalign("eval", tmp_path / "run", "--data", root, "--split", "test", "--json", scores) == 0
    found = json.loads(scores.read_text())
    assert 0 <= found["miou"] <= 1 and set(found["iou"]) <= set(found["names"])
    assert "IoU" in capsys.readouterr().out.splitlines()[0].split()
    assert featalign("train", recipe, "--data", root, "--out", tmp_path / "none") == 2
    assert "does not tell objects apart" in capsys.readouterr().err
