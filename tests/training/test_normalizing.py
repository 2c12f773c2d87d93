"""How a run normalizes its images, from its beginning to its end."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import featalign
from featalign.data import normalize, silent
from featalign.errors import ConfigError, WeightsError
from featalign.models import create_model, save_model
from featalign.spec import Classes, Normalization
from featalign.training.normalizing import recall, remember, settle
from featalign.training.run import train
from featalign.training.run_folder import RunFolder
from featalign.training.splits import Splits, augment, open_splits
from featalign.training.start_from import start_from

STEPS = ["training.iterations=2", "training.batch=2", "training.checkpoint_every=1", "training.validate_every=2"]


@pytest.fixture
def deep(scenes: Path) -> Path:
    """The scenes with 12 of 16 bits."""
    for file in scenes.glob("*/images/*.png"):
        np.save(file.with_suffix(".npy"), np.asarray(Image.open(file)).astype(np.uint16) * 16)
        file.unlink()
    return scenes


class Ramp:
    """One image of the values 0 … 3."""

    def __len__(self) -> int:
        return 1

    def pixels(self, index: int) -> np.ndarray:
        return np.arange(4, dtype=np.uint16).reshape(2, 2, 1)


def values(root: Path) -> np.ndarray:
    return np.concatenate([np.load(file).reshape(-1, 3) for file in root.glob("train/images/*.npy")]).astype(np.float64)


def test_sixteen_bits_are_measured_and_the_model_knows(deep, tiny, quiet, tmp_path):
    train(tiny(*STEPS, "data.depth=16"), data=deep, out=tmp_path / "run", device="cpu", console=quiet)
    found = featalign.load(tmp_path / "run").normalization
    np.testing.assert_allclose(np.array(found.mean) * 65535, values(deep).mean(0), rtol=1e-6)
    np.testing.assert_allclose(np.array(found.std) * 65535, values(deep).std(0), rtol=1e-6)


@pytest.mark.parametrize(
    ("depth", "chosen", "given", "measured"),
    [
        (8, "auto", False, False),
        (8, "measured", False, True),
        (16, "auto", False, True),
        (16, "auto", True, False),  # of weights for images like these
        (16, "measured", True, True),
        (16, "weights", False, False),
    ],
)
def test_when_images_are_measured(tiny, depth, chosen, given, measured):
    model = SimpleNamespace(normalization=Normalization.for_channels(1, depth=depth))
    recipe = tiny(f"data.depth={depth}", f"data.normalization={chosen}", "data.channels=1")
    assert settle(model, recipe, Ramp(), given=given, progress=silent) is measured
    assert (model.normalization.mean == (1.5 / (2**depth - 1),)) is measured
    assert model.normalization.depth == depth


def test_data_that_read_no_image_alone(tiny, quiet, tmp_path):
    """Refused before the run that is there is removed."""
    model = SimpleNamespace(normalization=Normalization.for_channels(3, depth=16))
    assert not settle(model, tiny("data.depth=16"), [], given=False, progress=silent)
    recipe, splits = tiny("data.normalization=measured"), Splits([], None, Classes.numbered(2))
    (tmp_path / "recipe.yaml").write_text("there")
    with pytest.raises(ConfigError, match=r"data\.normalization: measured .* pixels\(index\)"):
        train(recipe, data=splits, out=tmp_path, device="cpu", console=quiet, overwrite=True)
    assert (tmp_path / "recipe.yaml").read_text() == "there"


def test_a_resumed_run_goes_on_with_what_it_measured(deep, tiny, quiet, tmp_path):
    """Also where the images were made brighter meanwhile, which a measurement would see."""
    recipe, out = tiny(*STEPS, "data.depth=16"), tmp_path / "run"
    splits = open_splits(deep, recipe.data)

    def stop(sample):
        raise KeyboardInterrupt

    splits.val.transform = stop
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data=splits, out=out, device="cpu", console=quiet)
    before = Normalization.from_json(json.loads((out / "normalization.json").read_text()))
    for file in deep.glob("train/images/*.npy"):
        np.save(file, np.load(file) * 4)
    train(recipe, data=deep, out=out, device="cpu", console=quiet)
    assert featalign.load(out).normalization == before
    assert not np.allclose(np.array(before.mean) * 65535, values(deep).mean(0), rtol=0.1)
    train(recipe, data=deep, out=out, device="cpu", console=quiet, overwrite=True)
    np.testing.assert_allclose(
        np.array(featalign.load(out).normalization.mean) * 65535, values(deep).mean(0), rtol=1e-6
    )


def test_runs_of_earlier_versions(tmp_path):
    """They tell how images are normalized beside the weights that they began with, or not at all."""
    model, told = SimpleNamespace(normalization=Normalization()), Normalization((0.1,), (0.2,), 65535.0)
    recall(model, RunFolder(tmp_path))
    assert model.normalization == Normalization()
    (tmp_path / "start_from.json").write_text(json.dumps({"normalization": asdict(told)}))
    recall(model, RunFolder(tmp_path))
    assert model.normalization == told
    model.normalization = Normalization((0.3,), (0.4,))
    remember(model, RunFolder(tmp_path))
    recall(later := SimpleNamespace(normalization=None), RunFolder(tmp_path))
    assert later.normalization == model.normalization


@pytest.mark.parametrize("content", ["", "[]", '{"mean": [1]}', '{"mean": 1, "std": 1}'])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "normalization.json").write_text(content)
    with pytest.raises(WeightsError, match=r"normalization\.json: cannot be read"):
        recall(SimpleNamespace(normalization=None), RunFolder(tmp_path))


@pytest.mark.parametrize(("scale", "normalizes"), [(255.0, False), (65535.0, True)])
def test_weights_tell_how_images_of_their_own_depth_are_normalized(tmp_path, scale, normalizes):
    source, model = (create_model("fpn", backbone="resnet10t", width=16, classes=3) for _ in range(2))
    source.normalization = Normalization((0.1, 0.2, 0.3), (0.5,), scale)
    model.normalization = Normalization.for_channels(3, depth=16)
    save_model(source, tmp_path / "weights")
    assert start_from(model, tmp_path / "weights").normalizes is normalizes


def test_padding_is_the_mean_colour(deep, tiny):
    recipe = tiny("data.depth=16", "data.crop=128", "data.scales=[1, 1]").data
    splits: Splits = open_splits(deep, recipe)
    measured = Normalization((0.02,), (0.01,), 65535.0)
    augment(splits, recipe, measured)
    sample = splits.train[0]
    padded = normalize(torch.as_tensor(sample["image"]), measured)[:, torch.as_tensor(sample["mask"]) == 255]
    assert padded.shape[1] > 128 * 128 - 50 * 60 and padded.abs().median() < 0.01


def test_objects_are_not_measured(tiny):
    with pytest.raises(ConfigError, match=r"data\.normalization: mask_rcnn"):
        tiny("model.name=mask_rcnn", "data.normalization=measured")
