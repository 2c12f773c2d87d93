"""FaPN's parts without published weights: formulas, what an offset does, variants, parameters, wrong options."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from featalign.align.fapn import DeformableConv, FaPNFuse, FeatureAlignment, FeatureSelection, conv_norm
from featalign.align.pathways import TopDown
from featalign.align.resample import nearest_add
from featalign.errors import ConfigError


@pytest.mark.parametrize("skip", [True, False], ids=["fsm", "se"])
def test_feature_selection_is_the_papers_formula(skip):
    module = FeatureSelection(6, 4, skip=skip).double()
    x = torch.randn(2, 6, 5, 3, dtype=torch.float64)
    expected = torch.zeros(2, 4, 5, 3, dtype=torch.float64)
    for b, d in itertools.product(range(2), range(6)):
        means = torch.stack([x[b, c].sum() / 15 for c in range(6)])
        u = 1 / (1 + torch.exp(-(module.importance[0].weight[d, :, 0, 0] * means).sum()))
        rescaled = u * x[b, d] + (x[b, d] if skip else 0)
        expected[b] += module.select[0].weight[:, d] * rescaled
    assert torch.allclose(module(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["GN", "BN"])
def test_normalization_sits_in_the_importance_branch(norm):
    module = FeatureSelection(64, 8, norm=norm).train()
    assert [type(layer) for layer in module.importance][1:] == [type(conv_norm(32, 32, norm=norm)[1])]
    assert module(torch.randn(1, 64, 4, 4)).shape == (1, 8, 4, 4)


def test_alignment_starts_as_half_a_convolution():
    module = FeatureAlignment(16)
    coarse, reference = torch.randn(2, 16, 5, 7), torch.randn(2, 16, 5, 7)
    inner = module.deform.convolution
    expected = F.relu(F.conv2d(coarse, inner.weight / 2, inner.bias, padding=1))
    assert torch.allclose(module(coarse, reference), expected, atol=1e-5)
    offset, mask = module.sampling(coarse, reference)
    assert offset.shape == (2, 144, 5, 7) and mask.shape == (2, 72, 5, 7)
    assert (offset == 0).all() and (mask == 0.5).all()


def test_offsets_move_the_groups_of_channels():
    """The first group looks one cell down, the second two cells to the right."""
    module = DeformableConv(4, 4, groups=2)
    with torch.no_grad():
        module.convolution.weight.zero_()
        module.convolution.bias.zero_()
        module.convolution.weight[range(4), range(4), 1, 1] = 1
        bias = module.predict.bias
        bias[:18:2] = 1
        bias[19:36:2] = 2
        bias[36:] = 100
        x = torch.randn(1, 4, 6, 8)
        moved = module(x, torch.randn_like(x))
    assert torch.allclose(moved[:, :2, :5], x[:, :2, 1:], atol=1e-5)
    assert torch.allclose(moved[:, 2:, :, :6], x[:, 2:, :, 2:], atol=1e-5)
    assert moved[:, :2, 5].abs().max() < 1e-5 and moved[:, 2:, :, 6:].abs().max() < 1e-5


VARIANTS = [
    {},
    {"selection": "none"},
    {"selection": "se", "norm": "BN"},
    {"align": "after"},
    {"align": "deconv"},
    {"align": "none"},
    {"join": "concat", "resize": "nearest"},
    {"align": "after", "join": "concat", "groups": 4},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize(("coarse_size", "fine_size"), [((5, 7), (9, 13)), ((2, 2), (3, 4)), ((6, 4), (6, 4))], ids=str)
def test_variants_give_the_fine_size_and_reach_every_parameter(options, coarse_size, fine_size):
    torch.manual_seed(0)
    fuse = FaPNFuse(12, 8, **options).train()
    for module in fuse.modules():
        if isinstance(module, DeformableConv):
            nn.init.normal_(module.predict.weight, std=0.1)
    coarse = torch.randn(2, 8, *coarse_size, requires_grad=True)
    fine = torch.randn(2, 12, *fine_size, requires_grad=True)
    result = fuse(coarse, fine)
    assert result.shape == (2, 8, *fine_size)
    result.square().sum().backward()
    for name, tensor in [("coarse", coarse), ("fine", fine), *fuse.named_parameters()]:
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0, name


def test_fuse_is_the_papers_formula():
    torch.manual_seed(0)
    fuse = FaPNFuse(12, 8)
    coarse, fine = torch.randn(1, 8, 4, 5), torch.randn(1, 12, 8, 10)
    reference = fuse.lateral(fine)
    enlarged = F.interpolate(coarse, scale_factor=2, mode="bilinear")
    assert torch.allclose(fuse(coarse, fine), fuse.align(enlarged, reference) + reference, atol=1e-6)


def test_without_alignment_is_fapn_with_offsets_of_zero_and_full_modulation():
    torch.manual_seed(0)
    aligned, plain = FaPNFuse(12, 8), FaPNFuse(12, 8, align="none")
    plain.lateral.load_state_dict(aligned.lateral.state_dict())
    plain.align.convolution.load_state_dict(aligned.align.deform.convolution.state_dict())
    with torch.no_grad():
        aligned.align.deform.predict.bias[2 * 8 * 9 :] = 100  # modulation 1; the offsets are zero
    coarse, fine = torch.randn(1, 8, 4, 5), torch.randn(1, 12, 8, 10)
    assert torch.allclose(plain(coarse, fine), aligned(coarse, fine), atol=1e-5)


def millions(module: nn.Module) -> float:
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


def test_parameters_are_those_of_table_1():
    """Differences to FaPN's 33.1M on a 50-layer residual network; FPN smooths its coarsest map too."""
    channels, smooth = (256, 512, 1024, 2048), partial(nn.Conv2d, kernel_size=3, padding=1)

    def pathway(**options: str) -> float:
        return millions(TopDown(channels, 256, partial(FaPNFuse, **options), smooth=smooth, smooth_top=False))

    fapn = pathway()
    assert fapn - millions(TopDown(channels, 256, nearest_add, smooth=smooth)) == pytest.approx(4.5, abs=0.1)
    assert fapn - pathway(selection="none") == pytest.approx(1.4, abs=0.05)
    assert fapn - pathway(selection="se") == 0
    assert fapn - pathway(align="after") == pytest.approx(0.4, abs=0.05)
    assert fapn - pathway(align="deconv") == pytest.approx(0.4, abs=0.15)


def test_parameters_are_those_of_the_real_time_networks():
    """Supplement B, Table I, on an 18-layer residual network: 12.2M, 12.6M, 12.6M."""
    channels = (128, 256, 512)
    rest = 11.18 + 0.075  # backbone; 3x3 to 64 channels, norm, 1x1 to 19 classes

    def pathway(selection: str, join: str, top: type[nn.Module]) -> float:
        fuse = partial(FaPNFuse, selection=selection, join=join, resize="nearest")
        return rest + millions(TopDown(channels, 128, fuse, top=top))

    assert pathway("none", "add", partial(nn.Conv2d, kernel_size=1)) == pytest.approx(12.2, abs=0.1)
    assert pathway("fsm", "add", FeatureSelection) == pytest.approx(12.6, abs=0.1)
    assert pathway("fsm", "concat", FeatureSelection) == pytest.approx(12.6, abs=0.1)


def test_autocast_predicts_offsets_in_full_precision():
    torch.manual_seed(0)
    fuse = FaPNFuse(12, 8)
    nn.init.normal_(fuse.align.deform.predict.weight, std=0.1)
    coarse, fine = torch.randn(1, 8, 20, 30), torch.randn(1, 12, 40, 60)
    exact = fuse(coarse, fine)
    with torch.autocast("cpu", torch.bfloat16):
        rough = fuse(coarse, fine)
        assert fuse.align.sampling(exact, exact)[0].dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.02 * exact.std()
    assert fuse.bfloat16()(coarse.bfloat16(), fine.bfloat16()).dtype == torch.bfloat16


def test_counting_on_the_meta_device():
    fuse = FaPNFuse(12, 8).to("meta")
    assert fuse(torch.empty(1, 8, 4, 4, device="meta"), torch.empty(1, 12, 8, 8, device="meta")).shape == (1, 8, 8, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"selection": "fms"}, 'unknown selection "fms": did you mean "fsm"'),
        ({"align": "befor"}, 'did you mean "before"'),
        ({"join": "cat"}, "unknown join"),
        ({"resize": "bilinaer"}, 'did you mean "bilinear"'),
        ({"align": "deconv", "resize": "bilinaer"}, 'did you mean "bilinear"'),
        ({"align": "none", "norm": "LN"}, 'unknown normalization "LN"'),
        ({"norm": "LN"}, 'unknown normalization "LN"'),
        ({"norm": "GN"}, "multiple of 32 channels, got 8"),
        ({"groups": 3}, "8 channels cannot share offsets in 3 groups"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        FaPNFuse(12, 8, **options)
