"""Object context: equations 1 to 3 against loops, degenerate regions, training on one image."""

from __future__ import annotations

import pytest
import torch

from featalign.context.ocr import ObjectContext, gather_regions


def test_regions_are_weighted_means_of_pixels():
    torch.manual_seed(0)
    pixels, logits = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randn(2, 6, 4, 5, dtype=torch.float64)
    got = gather_regions(pixels, logits)
    assert got.shape == (2, 3, 6, 1)
    for b in range(2):
        for k in range(6):
            shares = logits[b, k].exp() / logits[b, k].exp().sum()
            assert torch.allclose(got[b, :, k, 0], (pixels[b] * shares).sum((1, 2)), rtol=0, atol=1e-12)


def test_a_sharp_region_is_its_pixel():
    pixels = torch.randn(1, 3, 4, 5)
    logits = torch.zeros(1, 1, 4, 5)
    logits[0, 0, 2, 3] = 200
    assert torch.allclose(gather_regions(pixels, logits)[0, :, 0, 0], pixels[0, :, 2, 3])


def test_every_pixel_takes_the_regions_it_resembles():
    torch.manual_seed(0)
    module = ObjectContext(5, 4, classes=3, inner=6, keys=7).double().eval()
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    pixels, logits = module.pixels(x), module.regions(x)
    regions = gather_regions(pixels, logits)
    query, key, value = module.query(pixels), module.key(regions), module.value(regions)
    context = torch.zeros(2, 7, 3, 4, dtype=torch.float64)
    for b in range(2):
        for i in range(3):
            for j in range(4):
                likeness = torch.stack([query[b, :, i, j] @ key[b, :, k, 0] for k in range(3)]) / 7**0.5
                context[b, :, i, j] = sum(w * value[b, :, k, 0] for k, w in enumerate(likeness.softmax(0)))
    expected = module.merge(torch.cat((module.restore(context), pixels), 1))
    output = module.with_regions(x)
    assert torch.allclose(output.maps, expected, rtol=0, atol=1e-12)
    assert torch.equal(output.region_logits, logits)
    assert torch.equal(module(x), output.maps)


@pytest.mark.parametrize(("size", "classes"), [((5, 7), 3), ((1, 1), 1), ((1, 4), 2)], ids=str)
def test_one_image_and_one_class_train(size, classes):
    torch.manual_seed(0)
    module = ObjectContext(6, 4, classes=classes, inner=8, keys=5).train()
    x = torch.randn(1, 6, *size, requires_grad=True)
    output = module.with_regions(x)
    assert output.maps.shape == (1, 4, *size)
    assert output.region_logits.shape == (1, classes, *size)
    (output.maps * torch.randn_like(output.maps)).sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
