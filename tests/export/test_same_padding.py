from __future__ import annotations

import copy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn
from torch.export import Dim

from featalign.export.same_padding import TraceableConv2dSame, make_traceable
from featalign.models import create_model


@pytest.mark.parametrize("stride", [1, 2, 3, (2, 1)])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 1), (3, 1), (5, 1), (3, 2), ((3, 5), 1)])
def test_values_are_timms(kernel, dilation, stride):
    torch.manual_seed(0)
    own = Conv2dSame(4, 6, kernel, stride=stride, dilation=dilation, groups=2)
    other = nn.Sequential(copy.deepcopy(own))
    make_traceable(other)
    for height in range(9, 14):
        x = torch.randn(2, 4, height, 23 - height)
        torch.testing.assert_close(other(x), own(x))


def test_sizes_stay_short_however_many_layers():
    network = nn.Sequential(*(Conv2dSame(1, 1, 3, stride=2) for _ in range(5)))
    make_traceable(network)
    dynamic = {"input": {2: Dim.DYNAMIC, 3: Dim.DYNAMIC}}
    program = torch.export.export(
        network, (torch.zeros(1, 1, 96, 160),), dynamic_shapes=dynamic, prefer_deferred_runtime_asserts_over_guards=True
    )
    (result,) = (node for node in program.graph.nodes if node.op == "output")
    size = result.args[0][0].meta["val"].shape[-2]
    assert len(str(size)) < 40  # thousands of characters, as timm writes it
    assert program.module()(torch.zeros(1, 1, 97, 131)).shape == (1, 1, 4, 5)


def test_only_the_copy_that_is_traced_changes():
    from featalign.export.graph import ExportGraph

    model = create_model("fpn", backbone="tf_mobilenetv3_small_minimal_100", width=8, classes=2)
    graph = ExportGraph(model, mode="resized", half=False, size=None)
    assert any(isinstance(module, TraceableConv2dSame) for module in graph.modules())
    assert not any(isinstance(module, TraceableConv2dSame) for module in model.modules())
