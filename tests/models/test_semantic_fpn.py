"""Semantic FPN's head written out, fuses of the user's own, refusals, and the counts of FaPN's tables."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align.fuses import FUSES, FuseName
from featalign.context.contexts import CONTEXTS, ContextName
from featalign.errors import ConfigError, WeightsError
from featalign.models import create_model, model_choices, save_model
from featalign.models.complexity import complexity
from featalign.models.semantic_fpn import SemanticHead

POINTREND = 3 * (256 + 19 + 1) * 256 + (256 + 19 + 1) * 19  # of the papers' counts: three layers of 256, classifier


def test_names_and_types_agree():
    assert model_choices("semantic_fpn")["align"] == tuple(FUSES)
    assert model_choices("semantic_fpn")["context"] == ("none", *CONTEXTS)
    assert set(get_args(FuseName)) == set(FUSES)
    assert set(get_args(ContextName)) == set(CONTEXTS)


@pytest.mark.parametrize("norm", ["GN", "BN"])
def test_head_is_the_papers_sum_of_climbs(norm):
    torch.manual_seed(0)
    head = SemanticHead(4, 5, 3, inner=64, norm=norm).eval()
    assert [len(climb) for climb in head.climbs] == [1, 1, 2, 3]
    levels = [torch.randn(2, 5, 32 // 2**i, 48 // 2**i) for i in range(4)]
    expected = head.climbs[0][0](levels[0])
    for level, climb in zip(levels[1:], head.climbs[1:], strict=True):
        for stage in climb:
            level = F.interpolate(stage(level), scale_factor=2, mode="bilinear", align_corners=False)
        expected = expected + level
    assert torch.allclose(head(levels), head.classify(expected), atol=1e-5)


class Weighted(nn.Module):
    """A fuse of a user's own: a learned share of the coarse map."""

    def __init__(self, fine_channels: int, width: int) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(fine_channels, width, 1)
        self.share = nn.Parameter(torch.tensor(0.5))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return self.lateral(fine) + self.share * F.interpolate(coarse, fine.shape[-2:])


@pytest.mark.parametrize("name", ["semantic_fpn", "sfnet"])
def test_fuse_of_the_users_own(name, tmp_path):
    model = create_model(name, align=Weighted, classes=3, backbone="resnet10t", width=32)
    fuses = [module for module in model.modules() if isinstance(module, Weighted)]
    assert [fuse.lateral.in_channels for fuse in fuses] == [64, 128, 256]
    model(torch.randn(2, 3, 40, 56)).square().sum().backward()
    assert all(fuse.share.grad.abs() > 0 for fuse in fuses)
    with pytest.raises(WeightsError, match=r"cannot be stored as a folder.*state_dict"):
        save_model(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"name": "fpn", "align": "fapn"},
            'it takes ifa, .*carafe; "fapn" goes with alignseg, fapn, fapn_realtime, semantic_fpn',
        ),
        ({"name": "semantic_fpn", "align": "ifa"}, 'it takes nearest, .*"ifa" goes with deeplabv3plus, fpn, hrnet'),
        ({"name": "fapn", "align": "carafe"}, '"carafe" goes with alignseg, fpn, semantic_fpn, sfnet'),
        ({"name": "semantic_fpn", "align": "fapm"}, 'unknown align "fapm".*did you mean "fapn"'),
        ({"name": "semantic_fpn", "context": "psq"}, 'unknown context "psq".*did you mean "psp"'),
        ({"name": "fapn", "context": "psp"}, 'no option "context"'),
        ({"name": "semantic_fpn", "align": "fapn", "width": 20}, "20 channels cannot share offsets in 8 groups"),
        ({"name": "semantic_fpn", "norm": "LN"}, 'unknown norm "LN" for model "semantic_fpn"'),
        ({"name": "fapn_realtime", "join": "sum"}, 'unknown join "sum"'),
    ],
)
def test_parts_that_do_not_go_together(options, message):
    with pytest.raises(ConfigError, match=message):
        create_model(**{"classes": 3, "backbone": "resnet10t", **options})


TABLE_1 = [  # FaPN Table 1, 19 classes, PointRend's head added: parameters in millions that the architecture gives
    ({"name": "semantic_fpn"}, 28.70),
    ({"name": "semantic_fpn", "backbone": "resnet101"}, 47.69),
    ({"name": "fapn", "align": "fapn_no_fsm"}, 31.76),
    ({"name": "fapn", "align": "fapn_se"}, 33.14),
    ({"name": "fapn"}, 33.14),
    ({"name": "fapn", "align": "fapn_after"}, 32.75),
]


@pytest.mark.parametrize(("options", "millions"), TABLE_1, ids=str)
def test_parameters_of_fapns_table_1(options, millions):
    with torch.device("meta"):
        model = create_model(classes=19, **options)
    assert (sum(p.numel() for p in model.parameters()) + POINTREND) / 1e6 == pytest.approx(millions, abs=0.005)


REALTIME: list[tuple[dict[str, Any], float, float]] = [  # supplement B, Table I: millions, multiply-adds in G
    ({"align": "nearest"}, 11.4, 44.5),
    ({"align": "fapn_no_fsm", "join": "add"}, 12.2, 51.0),
    ({"join": "add"}, 12.6, 51.0),
    ({}, 12.6, 51.8),
]


@pytest.mark.parametrize(("options", "millions", "multiply_adds"), REALTIME, ids=str)
def test_counts_of_realtime_fapn(options, millions, multiply_adds):
    with torch.device("meta"):
        model = create_model("fapn_realtime", classes=19, **options)
    count = complexity(model, (768, 1536))
    deformed = 0 if options.get("align") == "nearest" else 48 * 96 + 96 * 192  # cells of P4 and P3
    counted = count.multiply_adds - 9 * 128**2 * deformed  # the paper leaves the deformable product out
    assert count.parameters / 1e6 == pytest.approx(millions, abs=0.05)
    assert counted / 1e9 == pytest.approx(multiply_adds, abs=0.05)
