from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from featalign.metrics import ConfusionMatrix, scores


def make_pair(*shape: int, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Predictions and a target with void, where even void pixels carry a predicted class."""
    generator = torch.Generator().manual_seed(seed)
    pred = torch.randint(classes, shape, generator=generator)
    target = torch.randint(classes, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < 0.15] = 255
    return pred, target


def loop_scores(pred: list[int], target: list[int], classes: int) -> tuple[list[float], float, float]:
    """Per-class IoU (nan where absent from the truth), pixel accuracy and mean recall, by sets of pixels."""
    valid = [i for i, label in enumerate(target) if label != 255]
    iou, recalls = [], []
    for c in range(classes):
        truth = {i for i in valid if target[i] == c}
        found = {i for i in valid if pred[i] == c}
        iou.append(len(truth & found) / len(truth | found) if truth else math.nan)
        recalls += [len(truth & found) / len(truth)] if truth else []
    correct = sum(pred[i] == target[i] for i in valid)
    return iou, correct / len(valid), sum(recalls) / len(recalls)


@pytest.mark.parametrize("shape", [(9, 13), (3, 5, 7), (40,)])
def test_scores_equal_a_naive_loop(shape: tuple[int, ...]) -> None:
    pred, target = make_pair(*shape)
    target[target == 2] = 255  # class 2 is absent from the truth, and predicted
    confusion = ConfusionMatrix(5)  # class 4 neither occurs nor is predicted
    confusion.update(pred, target)
    ours = scores(confusion.matrix)
    iou, accuracy, recall = loop_scores(pred.flatten().tolist(), target.flatten().tolist(), 5)
    assert ours.iou == pytest.approx(iou, nan_ok=True)
    assert ours.absent == [2, 4]
    assert ours.miou == pytest.approx(sum(value for value in iou if value == value) / 3)
    assert ours.pixel_accuracy == pytest.approx(accuracy)
    assert ours.mean_accuracy == pytest.approx(recall)


def test_rows_are_truth() -> None:
    confusion = ConfusionMatrix(3)
    confusion.update(np.array([2, 2, 2, 0]), np.array([0, 0, 1, 255]))
    assert confusion.matrix.tolist() == [[0, 0, 2], [0, 0, 1], [0, 0, 0]]
    assert confusion.matrix.dtype == torch.int64


def test_streaming_and_merging_equal_one_update() -> None:
    pairs = [make_pair(6, 7, seed=seed) for seed in range(4)]
    whole, left, right = ConfusionMatrix(4), ConfusionMatrix(4), ConfusionMatrix(4)
    whole.update(*(torch.stack(labels) for labels in zip(*pairs, strict=True)))
    for i, pair in enumerate(pairs):
        (left if i % 2 else right).update(*pair)
    assert torch.equal((left + right).matrix, whole.matrix)
    assert int(whole.matrix.sum()) == sum(int((target != 255).sum()) for _, target in pairs)


@pytest.mark.parametrize("pred_type", [np.uint8, np.int32, np.uint16, np.int64])
@pytest.mark.parametrize("target_type", [np.uint8, np.int64])
def test_arrays_and_tensors_of_any_integer_type(pred_type: type, target_type: type) -> None:
    pred, target = make_pair(8, 9)
    tensors, arrays, mixed = ConfusionMatrix(4), ConfusionMatrix(4), ConfusionMatrix(4)
    tensors.update(pred, target)
    arrays.update(pred.numpy().astype(pred_type), target.numpy().astype(target_type))
    mixed.update(torch.from_numpy(pred.numpy().astype(pred_type)), target.numpy().astype(target_type))
    assert torch.equal(tensors.matrix, arrays.matrix)
    assert torch.equal(tensors.matrix, mixed.matrix)


@pytest.mark.parametrize("ignore_index", [-100, -1, 0, 3, 4, 255])
def test_any_ignore_index(ignore_index: int) -> None:
    pred = torch.arange(4).repeat(5)
    target = torch.tensor([0, 1, 2, 3, ignore_index]).repeat_interleave(4)
    confusion = ConfusionMatrix(4, ignore_index=ignore_index)
    confusion.update(pred, target)
    expected = torch.ones(4, 4, dtype=torch.int64)
    if 0 <= ignore_index < 4:
        expected[ignore_index] = 0
    assert torch.equal(confusion.matrix, expected)


@pytest.mark.parametrize(
    ("pred", "target", "message"),
    [
        ([0, 4, 4], [0, 1, 2], r"pred has 2 valid pixels outside 0 … 3 \(ids \[4\]\)"),
        ([0, -1, 2], [0, 1, 2], r"pred has 1 valid pixels outside 0 … 3 \(ids \[-1\]\)"),
        ([0, 1, 2**32], [0, 1, 2], "pred has 1"),
        ([0, 1, 2], [0, 4, 254], r"target has 2 valid pixels outside 0 … 3 \(ids \[4, 254\]\)"),
        ([0, 1, 2], [0, -1, 2], "target has 1"),
        ([9, 1, 2], [9, 1, 2], "target has 1"),
    ],
)
def test_ids_out_of_range_are_refused_and_nothing_is_counted(pred: list[int], target: list[int], message: str) -> None:
    confusion = ConfusionMatrix(4)
    with pytest.raises(ValueError, match=message):
        confusion.update(torch.tensor(pred), torch.tensor(target))
    assert not confusion.matrix.any()


def test_predictions_on_void_pixels_are_not_read() -> None:
    confusion = ConfusionMatrix(4)
    confusion.update(torch.tensor([1, 255, -7]), torch.tensor([1, 255, 255]))
    assert int(confusion.matrix.sum()) == 1


def test_wrong_shapes_and_types() -> None:
    confusion = ConfusionMatrix(4)
    with pytest.raises(ValueError, match=r"pred \(1, 6\) and target \(6,\)"):
        confusion.update(torch.zeros(1, 6, dtype=torch.long), torch.zeros(6, dtype=torch.long))
    with pytest.raises(ValueError, match="argmax"):
        confusion.update(torch.zeros(6), torch.zeros(6, dtype=torch.long))
    with pytest.raises(ValueError, match="got classes 4 and 5"):
        confusion + ConfusionMatrix(5)


def test_scores_of_a_split_without_a_valid_pixel() -> None:
    empty = scores(ConfusionMatrix(2).matrix)
    assert math.isnan(empty.miou) and math.isnan(empty.pixel_accuracy)
    assert empty.absent == [0, 1]


def test_counts_beyond_float32() -> None:
    matrix = torch.tensor([[2**40 + 1, 0], [1, 0]])
    assert scores(matrix).iou[0] == pytest.approx(1 - 1 / (2**40 + 2), rel=1e-15)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tensors_on_cuda() -> None:
    pred, target = make_pair(8, 9)
    here, there = ConfusionMatrix(4), ConfusionMatrix(4)
    here.update(pred, target)
    there.update(pred.cuda(), target.cuda())
    there.update(pred.cuda(), target)
    assert torch.equal(2 * here.matrix, there.matrix)
