"""Run lengths of annotation files, against COCO's own code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fabricate import fabricate

from featalign.data import open_dataset
from featalign.data.detail import decode_runs
from featalign.errors import DataError


@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_compressed_runs_are_those_of_pycocotools(density: float) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="the reference")
    mask = np.random.default_rng(3).random((37, 53)) < density
    runs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    np.testing.assert_array_equal(decode_runs({"size": runs["size"], "counts": runs["counts"].decode()}), mask)


def test_faults_name_the_file_and_the_image(tmp_path: Path) -> None:
    root = fabricate("pascal_context", tmp_path / "one", options={"annotations": "json"}, size=(8, 8))
    file = next(root.rglob("trainval_merged.json"))
    content = json.loads(file.read_text())
    content["annos_segmentation"][0]["segmentation"]["counts"][0] += 1
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"trainval_merged\.json \(2010_000000\): is damaged .*65 pixels for 8 x 8"):
        open_dataset(root, "train")[0]
    other = fabricate("pascal_context", tmp_path / "other", options={"annotations": "json"})
    next(other.rglob("trainval_merged.json")).write_text("[]")
    with pytest.raises(DataError, match=r"trainval_merged\.json: is not PASCAL in Detail's"):
        open_dataset(other, "train")
