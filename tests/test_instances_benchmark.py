"""The example of training a detector runs as its page says, on a set made for it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from featalign.data.objects.rle import encode

pytest.importorskip("pycocotools", reason="pip install 'featalign[detection]'")


def benchmark() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "instances.py"
    spec = importlib.util.spec_from_file_location("instances_benchmark", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_set(root: Path) -> None:
    """Two images of discs to learn from, one to be scored on, one image of each without any."""
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[:64, :64]
    for split, discs in (("train", (3, 2, 0)), ("val", (3, 0))):
        (root / split / "images").mkdir(parents=True)
        images, annotations = [], []
        for image, count in enumerate(discs):
            pixels = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
            for place in range(count):
                mask = (rows - 32) ** 2 + (columns - 12 - 20 * place) ** 2 < 64
                pixels[mask] += 150
                box = [12 + 20 * place - 7, 25, 15, 15]
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": image, "category_id": 1, "iscrowd": 0, "bbox": box}
                    | {"area": int(mask.sum()), "segmentation": encode(mask)}
                )
            Image.fromarray(pixels).save(root / split / "images" / f"{image}.png")
            images.append({"id": image, "file_name": f"{image}.png", "height": 64, "width": 64})
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "disc"}]}
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


@pytest.mark.parametrize("detector", ["mask", "faster"])
def test_it_runs(tmp_path: Path, detector, monkeypatch, capsys):
    write_set(tmp_path / "set")
    module = benchmark()
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "CROP", 64)
    monkeypatch.setattr(module, "FEW", {**module.FEW, "rpn_post_nms_top_n_test": 20, "box_detections_per_img": 5})
    options = ["--detector", detector, "--fuse", "fapn", "--backbone", "resnet10t", "--iterations", "2", "--every", "2"]
    files = ["--json", str(tmp_path / "out.json"), "--pictures", str(tmp_path / "pictures")]
    module.main([str(tmp_path / "set"), *options, *files])
    (run,) = json.loads((tmp_path / "out.json").read_text())["runs"]
    assert [row["iteration"] for row in run["curve"]] == [0, 2]
    assert ("segm" in run["curve"][-1]) == (detector == "mask")
    assert all(0 <= row["bbox"]["ap"] <= 1 for row in run["curve"])
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2
    assert capsys.readouterr().out.count(f"{detector} fapn 0") == 2
