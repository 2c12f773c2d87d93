from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from featalign.losses import balanced_weights, class_balanced_cross_entropy, cross_entropy


def make_batch(*shape: int, classes: int = 5) -> tuple[Tensor, Tensor]:
    """Class 0 in two thirds of the pixels; class 4 does not occur."""
    generator = torch.Generator().manual_seed(7)
    logits = torch.randn(shape[0], classes, *shape[1:], generator=generator, dtype=torch.float64)
    target = torch.randint(classes - 1, shape, generator=generator)
    target[torch.rand(shape, generator=generator) < 0.5] = 0
    target[torch.rand(shape, generator=generator) < 0.2] = 255
    return logits, target


@pytest.mark.parametrize("shape", [(2, 6, 7), (3, 11), (1, 2, 3, 2)])
def test_is_the_mean_of_the_means_of_the_classes(shape: tuple[int, ...]) -> None:
    logits, target = make_batch(*shape)
    each = F.cross_entropy(logits, target, ignore_index=255, reduction="none")
    means = [each[target == label].mean() for label in target[target != 255].unique()]
    torch.testing.assert_close(class_balanced_cross_entropy(logits, target), sum(means) / len(means))


def test_two_classes_are_balanced_as_by_xie_and_tu() -> None:
    """Equation 2 there: edges weigh the share of the others and the other way round, summed over the pixels."""
    logits, target = make_batch(2, 6, 7, classes=2)
    target[0, 0, :3] = 1
    share = (target == 0).sum() / (target != 255).sum()
    log = torch.log_softmax(logits, 1)
    total = -(1 - share) * log[:, 0][target == 0].sum() - share * log[:, 1][target == 1].sum()
    scale = 2 * share * (1 - share) * (target != 255).sum()  # theirs is a sum, ours a mean
    torch.testing.assert_close(class_balanced_cross_entropy(logits, target), total / scale)


def test_gradient_is_the_numerical_one() -> None:
    logits, target = make_batch(2, 3, 2)
    assert torch.autograd.gradcheck(lambda x: class_balanced_cross_entropy(x, target), logits.requires_grad_())


@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 0)])
def test_without_a_valid_pixel_is_an_attached_zero(shape: tuple[int, ...]) -> None:
    logits = torch.randn(shape[0], 3, *shape[1:], requires_grad=True)
    loss = class_balanced_cross_entropy(logits, torch.full(shape, 255))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_any_ignore_index_integer_type_and_autocast() -> None:
    logits, target = make_batch(2, 6, 6)
    expected = class_balanced_cross_entropy(logits, target)
    assert class_balanced_cross_entropy(logits, target.where(target != 255, -100), ignore_index=-100) == expected
    for dtype in (torch.uint8, torch.uint16):
        assert class_balanced_cross_entropy(logits, target.to(dtype)) == expected
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = class_balanced_cross_entropy(logits.bfloat16(), target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, class_balanced_cross_entropy(logits.bfloat16().float(), target))


def test_target_of_another_size() -> None:
    with pytest.raises(ValueError, match="resize the logits"):
        class_balanced_cross_entropy(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 4, dtype=torch.long))


def test_weights_are_the_median_frequency_over_each() -> None:
    assert balanced_weights(torch.tensor([900, 60, 30, 0])).tolist() == pytest.approx([60 / 900, 1, 2, 1])
    assert balanced_weights(torch.tensor([100, 300])).tolist() == pytest.approx([2, 2 / 3])
    assert balanced_weights(torch.zeros(3, dtype=torch.long)).tolist() == [1, 1, 1]


def test_weighted_by_the_batch_they_are_the_class_balanced_loss() -> None:
    logits, target = make_batch(2, 8, 9)
    weight = balanced_weights(torch.bincount(target[target != 255], minlength=5))
    torch.testing.assert_close(
        cross_entropy(logits, target, weight=weight), class_balanced_cross_entropy(logits, target), rtol=1e-6, atol=0
    )


def test_double_precision_is_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 3, 40, generator=generator, dtype=torch.float64)
    target = torch.tensor([[0] * 3 + [1] * 7 + [2] * 30])
    costs = F.cross_entropy(logits, target, reduction="none")
    means = torch.stack([costs[target == label].mean() for label in range(3)])
    assert class_balanced_cross_entropy(logits, target).item() == pytest.approx(means.mean().item(), rel=1e-13)
