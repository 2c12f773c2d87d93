from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torchvision import tv_tensors

from featalign.data.scenes import SCENE_CLASSES, Scene, SceneDataset
from featalign.data.scenes.patterns import Noise, WallWindows, Windows
from featalign.data.scenes.shapes import Box, Oval, Polygon, Region


def centers(height: int, width: int) -> np.ndarray:
    """(x, y) of the pixel centres, (height, width, 2)."""
    return np.array([[((j + 0.5) / width, (i + 0.5) / height) for j in range(width)] for i in range(height)])


@pytest.mark.parametrize("size", [(40, 40), (17, 33), (1, 1), (3, 50)])
@pytest.mark.parametrize("seed", [0, 7])
def test_labels_are_those_of_the_pixel_centers(size: tuple[int, int], seed: int) -> None:
    scene = Scene.random(seed)
    labels = scene.labels(size)
    assert labels.dtype == np.int64 and labels.shape == size
    np.testing.assert_array_equal(labels, scene.labels_at(centers(*size)))


@pytest.mark.parametrize("factor", [3, 5])
def test_finer_labels_agree_where_centers_coincide(factor: int) -> None:
    for seed in range(8):
        scene = Scene.random(seed)
        middle = factor // 2
        fine = scene.labels((32 * factor, 24 * factor))
        np.testing.assert_array_equal(fine[middle::factor, middle::factor], scene.labels((32, 24)))


def test_labels_hold_detail_that_coarser_ones_lack() -> None:
    """Drawn at four times the size, not enlarged: the boundaries differ."""
    scene = Scene.random(3)
    enlarged = scene.labels((48, 48)).repeat(4, 0).repeat(4, 1)
    different = (scene.labels((192, 192)) != enlarged).mean()
    assert 0.005 < different < 0.2


def test_same_seed_same_scene_and_other_seed_another() -> None:
    first, again, other = Scene.random(5), Scene.random(5), Scene.random(6)
    np.testing.assert_array_equal(first.image((30, 40)), again.image((30, 40)))
    np.testing.assert_array_equal(first.labels((30, 40)), again.labels((30, 40)))
    assert (first.labels((30, 40)) != other.labels((30, 40))).any()


def test_every_class_occurs_often_enough_to_be_learnt() -> None:
    scenes = [Scene.random(seed).labels((96, 96)) for seed in range(50)]
    shares = np.bincount(np.stack(scenes).ravel(), minlength=len(SCENE_CLASSES)) / (50 * 96 * 96)
    occurrences = [sum((labels == c).any() for labels in scenes) for c in range(len(SCENE_CLASSES))]
    assert len(shares) == len(SCENE_CLASSES)
    assert shares.min() > 0.005 and shares.max() < 0.5
    assert min(occurrences) >= 25


def test_poles_are_thin() -> None:
    """In an image of 96 pixels most pole pixels lie within two of something else."""
    labels = np.stack([Scene.random(seed).labels((96, 96)) for seed in range(20)])
    pole = labels == SCENE_CLASSES.names.index("pole")
    inner = pole[:, :, 1:-1] & pole[:, :, :-2] & pole[:, :, 2:]
    assert inner.sum() < 0.35 * pole.sum()


def test_images_of_two_sizes_show_one_scene() -> None:
    for seed in range(4):
        scene = Scene.random(seed)
        small = scene.image((40, 48)).astype(float)
        large = scene.image((120, 144)).astype(float).reshape(40, 3, 48, 3, 3).mean((1, 3))
        assert np.abs(small - large).mean() < scene.light.noise + 1.5  # the camera's noise is drawn anew
        assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.98


def test_image_does_not_depend_on_the_strips_it_is_drawn_in(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Scene.random(2).image((20, 30)).astype(int)
    monkeypatch.setattr("featalign.data.scenes.scene.STRIP", 1)
    assert np.abs(whole - Scene.random(2).image((20, 30))).max() <= 1


def test_edges_are_smooth_with_supersampling() -> None:
    scene = Scene.random(1)
    assert scene.image((24, 24), supersample=1).shape == scene.image((24, 24)).shape == (24, 24, 3)
    jagged, smooth, smoother = (scene.image((24, 24), supersample=n).astype(float) for n in (1, 3, 9))
    assert np.abs(smooth - smoother).mean() < 0.6 * np.abs(jagged - smoother).mean()


@pytest.mark.parametrize(
    ("region", "area"),
    [
        (Box((0.1, 0.2, 0.5, 0.9)), 0.28),
        (Oval((0.5, 0.4), (0.3, 0.2)), math.pi * 0.06),
        (Oval((0.5, 0.5), (0.25, 0.25), square=True), 3.708 * 0.25**2),
        (Polygon(((0.1, 0.1), (0.9, 0.1), (0.5, 0.7))), 0.24),
        (Polygon(((0.5, 0.7), (0.9, 0.1), (0.1, 0.1))), 0.24),
    ],
)
def test_areas_of_regions(region: Region, area: float) -> None:
    grid = (np.arange(400) + 0.5) / 400
    inside = region.contains(grid[None], grid[:, None])
    assert inside.mean() == pytest.approx(area, rel=0.01)
    rows, columns = inside.any(1).nonzero()[0], inside.any(0).nonzero()[0]
    found = (grid[columns[0]], grid[rows[0]], grid[columns[-1]], grid[rows[-1]])
    assert found == pytest.approx(region.bounds, abs=0.004)


def test_polygon_agrees_with_pillow() -> None:
    vertices = ((0.15, 0.2), (0.8, 0.1), (0.9, 0.6), (0.3, 0.85))
    canvas = Image.new("L", (200, 200))
    ImageDraw.Draw(canvas).polygon([(200 * x - 0.5, 200 * y - 0.5) for x, y in vertices], fill=1)
    grid = (np.arange(200) + 0.5) / 200
    assert (Polygon(vertices).contains(grid[None], grid[:, None]) != np.asarray(canvas)).mean() < 0.01


def test_patterns_are_functions_of_position() -> None:
    """Any part of a grid gets the tones that the whole grid has there, all in [0, 1]."""
    rng = np.random.default_rng(0)
    lit = rng.random((3, 4), dtype=np.float32)
    x, y = np.linspace(0.3, 1, 40), np.linspace(0, 1, 30)
    for pattern in (
        Noise.random(rng, cells=7),
        Windows((0.1, 0.2), (0.13, 0.11), (0.5, 0.6), lit),
        WallWindows((0.2, 0.5), 0.4, (0.2, 0.2), (0.5, 0.5)),
    ):
        whole = pattern(x, y)
        assert whole.shape == (30, 40) and whole.dtype == np.float32
        assert 0 <= whole.min() < whole.max() <= 1
        np.testing.assert_allclose(pattern(x[5:9], y[20:]), whole[20:, 5:9], atol=1e-6)


def test_noise_passes_through_its_lattice_and_is_continuous() -> None:
    noise = Noise.random(np.random.default_rng(0), cells=4)
    knots = np.linspace(0, 1, 5)
    np.testing.assert_allclose(noise(knots, knots), noise.lattice, atol=1e-6)
    fine = np.linspace(0, 1, 2001)
    assert np.abs(np.diff(noise(fine, fine[:3]))).max() < 0.01


def test_wrong_sizes_and_points() -> None:
    scene = Scene.random(0)
    with pytest.raises(ValueError, match="at least one pixel"):
        scene.labels((0, 4))
    with pytest.raises(ValueError, match="supersample=0"):
        scene.image((4, 4), supersample=0)
    with pytest.raises(ValueError, match=r"\(\.\.\., 2\)"):
        scene.labels_at(np.zeros((5, 3)))


def test_dataset_yields_samples() -> None:
    dataset = SceneDataset(3, (24, 32), seed=1)
    sample = dataset[2]
    assert len(dataset) == 3 and dataset.classes is SCENE_CLASSES
    assert isinstance(sample["image"], tv_tensors.Image) and isinstance(sample["mask"], tv_tensors.Mask)
    assert sample["image"].shape == (3, 24, 32) and sample["image"].dtype == torch.uint8
    assert sample["mask"].shape == (24, 32) and sample["mask"].dtype == torch.int64
    np.testing.assert_array_equal(sample["mask"].numpy(), dataset.scene(2).labels((24, 32)))
    assert len({dataset[i]["name"] for i in range(3)}) == 3


def test_dataset_draws_masks_at_a_size_of_their_own() -> None:
    coarse, fine = SceneDataset(2, (16, 16)), SceneDataset(2, (16, 16), mask_size=(64, 64))
    assert torch.equal(coarse[1]["image"], fine[1]["image"])
    np.testing.assert_array_equal(fine[1]["mask"].numpy(), fine.scene(1).labels((64, 64)))


def test_datasets_of_other_seeds_share_no_scene() -> None:
    names = [[SceneDataset(40, (8, 8), seed=seed).scene(i).seed for i in range(40)] for seed in (0, 1)]
    assert len({*names[0], *names[1]}) == 80
    assert SceneDataset(5, (8, 8)).scene(4).seed == names[0][4]


@pytest.mark.parametrize("cache", [True, False])
def test_cache_changes_nothing(cache: bool) -> None:
    dataset = SceneDataset(2, (16, 16), cache=cache)
    first = dataset[0]
    first["name"] = "changed"
    again = dataset[0]
    assert torch.equal(first["image"], again["image"]) and again["name"] != "changed"
    assert (again["image"] is first["image"]) == cache


def test_dataset_ends() -> None:
    with pytest.raises(IndexError):
        SceneDataset(2, (8, 8))[2]
    assert len(list(SceneDataset(2, (8, 8)))) == 2
