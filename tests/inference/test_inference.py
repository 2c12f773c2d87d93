"""Prediction and evaluation: sizes, files, failures, and scores against a direct computation."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from featalign.data import FolderDataset
from featalign.data.scenes import SCENE_CLASSES, SceneDataset
from featalign.errors import ConfigError, DataError, FeatalignError
from featalign.inference import Predictor, budget, collect_images, evaluate, predict_files
from featalign.inference.devices import choose_device
from featalign.inference.outputs import Outputs
from featalign.inference.predictor import Prediction, as_images
from featalign.inference.settings import digest_of
from featalign.models import create_detector, create_model
from featalign.spec import Classes, Normalization


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    model = create_model("fpn", classes=SCENE_CLASSES, backbone="resnet10t", width=8, hidden=(12,))
    return Predictor(model, device="cpu")


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (37, 50, 3), dtype=np.uint8)


def test_answers_have_the_asked_size(predictor, photo):
    assert predictor(photo).labels.shape == (37, 50)
    asked = predictor(photo, size=(90, 31), probabilities=True)
    assert asked.labels.shape == (90, 31) and asked.labels.dtype == np.uint8
    assert asked.probabilities.shape == (8, 90, 31)
    assert np.allclose(asked.probabilities.sum(0), 1, atol=1e-5)
    assert (asked.probabilities.argmax(0) == asked.labels).all()


def test_files_and_arrays_agree(predictor, photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "a.png")
    assert (predictor(tmp_path / "a.png").labels == predictor(photo).labels).all()


def test_input_size_is_what_the_network_sees(predictor, photo):
    seen = []
    hook = predictor.model.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-2:]))
    predictor(photo, input_size=(20, 24))
    predictor(photo, input_size=(64, 96))
    hook.remove()
    assert seen == [(32, 32), (64, 96)]  # filled up to whole cells


def test_bf16_runs_and_roughly_agrees(predictor, photo):
    rough = Predictor(predictor.model, device="cpu", precision="bf16")(photo, probabilities=True)
    exact = predictor(photo, probabilities=True)
    assert np.abs(rough.probabilities - exact.probabilities).max() < 0.1


@pytest.mark.parametrize("shape", [(1, 70, 3), (70, 1, 3), (40, 60, 3)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_mirrored_views_are_images_too(shape, kind):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(kind)
    for view in (pixels[::-1], pixels[:, ::-1], pixels[::-1, ::-1]):
        np.testing.assert_array_equal(as_images(view)[0].permute(1, 2, 0).numpy(), view)


def test_arrays_that_may_only_be_read_are_taken_in_silence(recwarn):
    torch.set_warn_always(True)  # else torch says it once, perhaps before this test
    try:
        as_images(np.asarray(Image.new("RGB", (7, 5))))
    finally:
        torch.set_warn_always(False)
    assert not recwarn.list


def test_unknown_devices_are_refused():
    with pytest.raises(ConfigError, match="cannot be used"):
        choose_device("cuda:99")
    with pytest.raises(ConfigError, match="cannot be used"):
        choose_device("gpuu")


def test_prediction_files(predictor, photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "street.jpg")
    out = tmp_path / "out"
    assert predict_files(predictor, [tmp_path / "street.jpg"], out, probabilities=True, size=(74, 100)) == {}
    expected = predictor(tmp_path / "street.jpg", size=(74, 100)).labels
    with Image.open(out / "labels" / "street.png") as labels:
        assert labels.mode == "P" and (np.asarray(labels) == expected).all()
        assert labels.getpalette()[:3] == list(SCENE_CLASSES.colors[0])
    with Image.open(out / "overlays" / "street.png") as picture:
        assert picture.mode == "RGB" and picture.width >= 100
    with np.load(out / "probabilities" / "street.npz") as stored:
        assert stored["probabilities"].shape == (8, 74, 100)
        assert stored["classes"].tolist() == list(SCENE_CLASSES.names)


def test_a_bad_image_does_not_stop_the_others(predictor, photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:200])
    (tmp_path / "empty.png").touch()
    images = collect_images([tmp_path])
    failures = predict_files(predictor, images, tmp_path / "out")
    assert {path.name for path in failures} == {"bad.png", "empty.png"}
    assert all(str(path) in reason and "\n" not in reason for path, reason in failures.items())
    assert [p.name for p in (tmp_path / "out" / "labels").iterdir()] == ["good.png"]


def test_collecting_images(tmp_path):
    (tmp_path / "b").mkdir()
    for name in ("a.png", "b/a.JPG", "b/note.txt"):
        (tmp_path / name).touch()
    assert collect_images([tmp_path / "b"]) == [tmp_path / "b" / "a.JPG"]
    with pytest.raises(DataError, match=r"both be written as a\.png; .* each with an --out of its own"):
        collect_images([tmp_path / "a.png", tmp_path / "b"])
    with pytest.raises(DataError, match="no such file"):
        collect_images([tmp_path / "nowhere.png"])
    (tmp_path / "c").mkdir()
    with pytest.raises(DataError, match=r"holds no image \(.*\)$"):
        collect_images([tmp_path / "c"])
    (tmp_path / "c/d").mkdir()
    with pytest.raises(DataError, match="folders in it are not searched: name them"):
        collect_images([tmp_path / "c"])


def test_hidden_files_and_folders_in_a_folder_are_no_images(tmp_path):
    for name in ("a.jpg", "._a.jpg", ".thumbnail.png"):
        (tmp_path / name).touch()
    (tmp_path / "tiles.tif").mkdir()
    assert collect_images([tmp_path]) == [tmp_path / "a.jpg"]


def test_nothing_half_written_when_the_disk_is_full(predictor, photo, tmp_path, monkeypatch):
    Image.fromarray(photo).save(tmp_path / "a.png")

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(FeatalignError, match="No space left"):
        predict_files(predictor, [tmp_path / "a.png"], tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.*"))


def test_scores_equal_a_direct_count(predictor):
    scenes = SceneDataset(3, (40, 48), seed=5, mask_size=(80, 96))
    found = evaluate(predictor, scenes, boundary_widths=(1, 4))
    matrix = np.zeros((8, 8), dtype=np.int64)
    for i in range(3):
        pixels = scenes[i]["image"].permute(1, 2, 0).numpy()
        labels = predictor(pixels, size=(80, 96)).labels
        for truth, guess in zip(scenes[i]["mask"].numpy().ravel(), labels.ravel(), strict=True):
            matrix[truth, guess] += 1
    assert found.matrix.tolist() == matrix.tolist()
    assert found.images == 3 and set(found.boundary) == {1, 4}
    content = found.to_json()
    assert content["miou"] == found.scores.miou and set(content["boundary"]) == {"1px", "4px"}
    absent = [name for i, name in enumerate(SCENE_CLASSES.names) if matrix[i].sum() == 0]
    assert content["absent"] == absent and not set(absent) & set(content["iou"])


def test_evaluation_refuses_other_classes_and_empty_labels(predictor, tmp_path):
    other = create_model("fpn", classes=3, backbone="resnet10t", width=8, hidden=(8,))
    with pytest.raises(DataError, match="3 classes apart, the data has 8"):
        evaluate(Predictor(other, device="cpu"), SceneDataset(1, (32, 32)))
    first, second, *others = SCENE_CLASSES.names
    moved = create_model("fpn", classes=[second, first, *others], backbone="resnet10t", width=8, hidden=(8,))
    with pytest.raises(DataError, match=f'"{first}" is class 0 of the data and 1 of the model: number the classes'):
        evaluate(Predictor(moved, device="cpu"), SceneDataset(1, (32, 32)))
    folder = tmp_path / "test"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "images" / "a.png")
    Image.fromarray(np.full((32, 32), 255, np.uint8)).save(folder / "masks" / "a.png")
    (tmp_path / "classes.json").write_text(json.dumps(SCENE_CLASSES.to_json()))
    with pytest.raises(DataError, match="nothing to score"):
        evaluate(predictor, FolderDataset(tmp_path, "test"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8"}, "unknown precision 'fp8'; expected one of: bf16"),
        ({"mode": "dence"}, "unknown mode 'dence'; did you mean \"dense\""),
    ],
)
def test_options_of_a_predictor_are_checked(predictor, options, message):
    with pytest.raises(ConfigError, match=message):
        Predictor(predictor.model, **options)


@pytest.mark.parametrize(("dtype", "precision"), [("float16", "fp32"), ("bfloat16", "fp16"), ("float64", "bf16")])
def test_weights_that_the_precision_does_not_compute_with_are_refused(predictor, dtype, precision):
    model = copy.deepcopy(predictor.model).to(getattr(torch, dtype))
    with pytest.raises(
        ConfigError, match=f"precision {precision} takes a network of float32, got one of torch\\.{dtype}"
    ):
        Predictor(model, precision=precision)


@pytest.mark.parametrize(("dtype", "precision"), [("float16", "fp16"), ("bfloat16", "bf16")])
def test_weights_in_half_compute_in_it(predictor, photo, dtype, precision):
    model = copy.deepcopy(predictor.model).to(getattr(torch, dtype))
    half = Predictor(model, device="cpu", precision=precision)(photo, probabilities=True).probabilities
    np.testing.assert_allclose(half, predictor(photo, probabilities=True).probabilities, atol=0.05)


def test_what_labels_no_pixels_is_refused():
    with pytest.raises(ConfigError, match=r"takes a network, .* got 'runs/first'"):
        Predictor("runs/first")
    with pytest.raises(ConfigError, match=r"finds objects; .*inference\.detect"):
        Predictor(create_detector("fcos", backbone="resnet10t", width=64, classes=2))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda image: image[..., 0], {}, r"\(H, W, 3\), got an array of shape \(37, 50\)"),
        (lambda image: image.transpose(2, 0, 1), {}, "move the channels to the end"),
        (lambda image: image[:0], {}, r"shape \(0, 50, 3\)"),
        (lambda image: image / 255, {}, "whole numbers, such as uint8, got float64"),
        (lambda image: image.astype(np.int64), {}, "8 bits, uint8 with 0 … 255, got int64"),
        (torch.from_numpy, {}, "a path or an array .* a Tensor: use numpy.asarray"),
        (np.asarray, {"size": 512}, r"size must be \(height, width\).* got 512"),
        (np.asarray, {"size": "10x20"}, "size must be"),
        (np.asarray, {"size": (0, 4)}, "at least one pixel"),
        (np.asarray, {"input_size": (8.0, 9.0)}, "input_size must be"),
        (np.asarray, {"box": (0, 0, 1)}, r"a box is \(left, top, right, bottom\)"),
    ],
)
def test_questions_are_checked(predictor, photo, change, options, message):
    with pytest.raises(ConfigError, match=message):
        predictor(change(photo), **options)
    assert predictor(photo, size=np.array([8, 9])).labels.shape == (8, 9)


@pytest.mark.parametrize("probabilities", [False, True])
def test_an_answer_larger_than_memory_is_refused_in_one_line(predictor, photo, monkeypatch, probabilities):
    needed = 90 * 31 * (1 + 8 * 4 * probabilities)  # a byte for the label, a float for each of 8 classes
    monkeypatch.setattr(budget, "free_memory", lambda: needed)
    found = predictor(photo, size=(90, 31), probabilities=probabilities)
    assert needed == found.labels.nbytes + (found.probabilities.nbytes if probabilities else 0)
    monkeypatch.setattr(budget, "free_memory", lambda: needed - 1)
    with pytest.raises(ConfigError, match=r"^an answer of 90x31 takes at least .*; ask for a smaller size$"):
        predictor(photo, size=(90, 31), probabilities=probabilities)


def test_sizes_that_no_memory_holds_are_refused_for_batches_too(predictor, photo):
    with pytest.raises(ConfigError, match="an answer of 1000000x1000000 takes at least"):
        predictor.labels(as_images(photo).repeat(2, 1, 1, 1), size=(10**6, 10**6))


def test_files_larger_than_pillow_opens_are_known_again(tmp_path, monkeypatch):
    image = tmp_path / "a.png"
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(image)
    outputs = Outputs(tmp_path / "out", {"mode": "auto"})
    labels = np.ones((20, 30), np.uint8)
    outputs.write(image, Prediction(labels, Classes.numbered(2)), np.zeros((20, 30, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20 * 30 // 2 - 1)
    assert outputs.complete(image)


def test_networks_of_equal_weights_are_told_apart(tmp_path):
    """Answers of both would lie in one folder: the way to blend, and what is subtracted, are no weights."""

    def digest(mean: float = 0.5, **options) -> str:
        torch.manual_seed(0)
        model = create_model("fpn", classes=3, backbone="resnet10t", width=8, hidden=(12,), **options)
        model.normalization = Normalization((mean,), (0.25,))
        return digest_of(model)

    assert digest() == digest()
    assert len({digest(), digest(blend="bilinear"), digest(mean=0.4)}) == 3


def test_a_record_without_settings_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(FeatalignError, match="cannot be read"):
        Outputs(tmp_path, {"mode": "auto"}).claim(join=True)
