"""The rewritten implicit function against the paper's form: gather, encode, concatenate, multiply."""

from __future__ import annotations

import random
import runpy
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featalign.align import ImplicitFunction, streaming
from featalign.align.encoding import Encoding
from featalign.ops import pixel_axes, pixel_axis

NESTED = [(16, 24), (8, 12), (4, 6), (2, 3)]
ODD = [(17, 25), (9, 13), (5, 7), (3, 4)]
CHANNELS = [5, 6, 7, 8]


def oracle_taps(position: float, cells: int, blend: bool) -> list[tuple[int, float, float]]:
    """(cell, offset in half cells, weight) of one coordinate in [0, 1] along one axis."""
    u = position * cells
    if not blend:
        cell = min(int(u), cells - 1)
        return [(cell, 2 * (u - cell) - 1, 1.0)]
    left = int((u - 0.5) // 1)
    share = u - 0.5 - left
    return [
        (min(max(cell, 0), cells - 1), 2 * (u - cell) - 1, weight)
        for cell, weight in ((left, 1 - share), (left + 1, share))
    ]


def oracle(model: ImplicitFunction, levels: list[Tensor], points: list[tuple[float, float]]) -> Tensor:
    """The concatenated input of every point times the concatenated matrix, point by point: (B, K, N)."""
    weight = torch.cat([block.weight.flatten(1) for block in model.content], 1)
    if model.position is not None:
        weight = torch.cat([weight, model.position.weight], 1)
    columns = []
    for x, y in points:
        contents, codes = [], []
        for level, encode in zip(levels, model.codes, strict=True):
            content, code = 0, 0
            for row, dy, wy in oracle_taps(y, level.shape[2], model.blend):
                for column, dx, wx in oracle_taps(x, level.shape[3], model.blend):
                    content = content + wy * wx * level[:, :, row, column]
                    code = code + wy * wx * encode(torch.tensor([dy, dx], dtype=level.dtype))
            contents.append(content)
            codes.append(code.expand(level.shape[0], -1))
        columns.append(torch.cat(contents + codes, 1) @ weight.T + model.content[0].bias)
    return model.mlp(torch.stack(columns, -1)[..., None])[..., 0]


def grid_points(height: int, width: int) -> list[tuple[float, float]]:
    return [((j + 0.5) / width, (i + 0.5) / height) for i in range(height) for j in range(width)]


def build(shapes: list[tuple[int, int]], **options: object) -> tuple[ImplicitFunction, list[Tensor]]:
    torch.manual_seed(0)
    model = ImplicitFunction(CHANNELS, 3, hidden=(12, 9), **options).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2)
    levels = [
        torch.randn(2, c, *s, dtype=torch.float64, requires_grad=True) for c, s in zip(CHANNELS, shapes, strict=True)
    ]
    return model, levels


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
@pytest.mark.parametrize("shapes", [NESTED, ODD], ids=["nested", "odd"])
@pytest.mark.parametrize("size", [None, (7, 5), (34, 26)], ids=["finest", "coarser", "finer"])
@pytest.mark.parametrize("training", [True, False])
def test_grid_equals_the_papers_form(resample, shapes, size, training):
    model, levels = build(shapes, resample=resample)
    model.train(training)
    got = model(levels, size)
    height, width = size or shapes[0]
    expected = oracle(model, levels, grid_points(height, width)).unflatten(2, (height, width))
    assert torch.allclose(got, expected, rtol=0, atol=1e-12)
    wanted = [*levels, *model.parameters()]
    weights = torch.randn_like(got)
    ours = torch.autograd.grad((got * weights).sum(), wanted, retain_graph=True)
    theirs = torch.autograd.grad((expected * weights).sum(), wanted)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("encoding", get_args(Encoding))
@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
@pytest.mark.parametrize("count", [3, 60, 500])
def test_points_equal_the_papers_form(encoding, resample, count):
    model, levels = build(ODD, resample=resample, encoding=encoding)
    points = torch.rand(1, count, 2, dtype=torch.float64)
    points[0, 0] = torch.tensor([0.0, 1.0])
    got = model.at(levels, points)
    expected = oracle(model, levels, [tuple(p) for p in points[0].tolist()])
    assert torch.allclose(got, expected, rtol=0, atol=1e-12)


def test_points_differ_per_image_and_keep_their_shape():
    model, levels = build(NESTED)
    model.eval()
    points = torch.rand(2, 4, 5, 2, dtype=torch.float64)
    got = model.at(levels, points)
    assert got.shape == (2, 3, 4, 5)
    for b in range(2):
        alone = model.at([level[b : b + 1] for level in levels], points[b : b + 1])
        assert torch.allclose(got[b], alone[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
def test_a_grid_is_its_points(resample):
    model, levels = build(ODD, resample=resample)
    model.eval()
    points = torch.tensor(grid_points(40, 31), dtype=torch.float64).view(1, 40, 31, 2)
    assert torch.allclose(model(levels, (40, 31)), model.at(levels, points), rtol=0, atol=1e-12)


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
@pytest.mark.parametrize("encoding", ["none", "learned"])
@pytest.mark.parametrize("shapes", [NESTED, ODD], ids=["nested", "odd"])
@pytest.mark.parametrize("size", [(7, 5), (32, 48), (50, 40)], ids=["coarser", "nested", "finer"])
@pytest.mark.parametrize("max_memory", [None, 200_000])
def test_tiles_change_nothing(resample, encoding, shapes, size, max_memory):
    model, levels = build(shapes, resample=resample, encoding=encoding)
    model.eval()
    whole = model(levels, size)  # with gradients: all at once, by the modules
    with torch.no_grad():
        assert torch.allclose(model(levels, size, max_memory=max_memory), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
def test_small_tiles_change_nothing(resample, monkeypatch):
    """As small as a cache would have them for wide hidden layers: cut along both axes, with remainders."""
    model, levels = build(ODD, resample=resample)
    model.eval()
    monkeypatch.setattr(streaming, "_TILE_BYTES", {"cpu": 2 * 8 * model.hidden[0] * 70})
    whole = model(levels, (50, 41))
    with torch.no_grad():
        tiles = list(model.stream(levels).tiles(*pixel_axes((50, 41))))
        assert {tile.rows.start for tile in tiles} != {0} != {tile.columns.start for tile in tiles}
        for tile in tiles:
            assert tile.answers.shape[-2] * tile.answers.shape[-1] <= 70
            assert torch.allclose(tile.answers, whole[:, :, tile.rows, tile.columns], rtol=0, atol=1e-12)


@pytest.mark.parametrize("blend", [False, True])
def test_pixels_in_a_row_never_read_more_cells_than_counted_on(blend):
    generator = random.Random(0)
    for _ in range(2000):
        low, high = sorted(generator.choice([generator.random(), 0.0, 1.0]) for _ in range(2))
        axis = pixel_axis(generator.randint(1, 60), low, max(high, low + 1e-3) if low < 1 else 1.0)
        cells, pixels = generator.randint(1, 70), generator.randint(1, axis.length)
        start = generator.randint(0, axis.length - pixels)
        read = axis.part(start, start + pixels).reach(cells, blend=blend)
        assert len(read) <= streaming._most(axis, cells, pixels, blend)


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
@pytest.mark.parametrize("max_memory", [None, 150_000])
def test_points_in_chunks_change_nothing(resample, max_memory):
    model, levels = build(ODD, resample=resample)
    model.eval()
    points = torch.rand(2, 700, 2, dtype=torch.float64)
    whole = model.at(levels, points)
    with torch.no_grad():
        assert torch.allclose(model.at(levels, points, max_memory=max_memory), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
@pytest.mark.parametrize("box", [(0.25, 0.5, 0.75, 1.0), (31 / 60, 7 / 40, 54 / 60, 29 / 40)])
@pytest.mark.parametrize("gradients", [True, False])
def test_a_box_is_a_crop(resample, box, gradients):
    model, levels = build(ODD, resample=resample)
    model.eval()
    left, top, right, bottom = (round(edge * side) for edge, side in zip(box, (60, 40, 60, 40), strict=True))
    with torch.set_grad_enabled(gradients):
        part = model(levels, (bottom - top, right - left), box=box)
        assert torch.allclose(part, model(levels, (40, 60))[:, :, top:bottom, left:right], rtol=0, atol=1e-12)


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
@pytest.mark.parametrize("gradients", [True, False])
def test_what_moves_by_whole_cells_is_answered_as_before(resample, gradients):
    model, levels = build(NESTED, resample=resample)
    model.eval()
    moved = [level.roll(level.shape[3] // 3, 3) for level in levels]  # by one cell of the coarsest
    with torch.set_grad_enabled(gradients):
        before, after = model(levels, (64, 96)), model(moved, (64, 96))
    assert torch.allclose(after[..., 48:80], before[..., 16:48], rtol=0, atol=1e-12)


def test_a_mirror_image_has_mirrored_answers():
    """Without position codes, which tell left from right; a map that lay a fraction of a cell aside would show."""
    model, levels = build(ODD, resample="bilinear", encoding="none")
    model.eval()
    mirrored = model([level.flip(2, 3) for level in levels], (23, 41))
    assert torch.allclose(mirrored, model(levels, (23, 41)).flip(2, 3), rtol=0, atol=1e-12)


def test_pixels_of_a_grid_by_their_indices():
    for shapes, size in ((NESTED, (64, 96)), (ODD, (51, 47))):  # few distinct relative coordinates, and many
        model, levels = build(shapes, resample="bilinear")
        model.eval()
        row, column = (torch.rand(size) < 0.2).nonzero().unbind(1)
        with torch.no_grad():
            grid = model(levels, size)
            for chunk, answers in model.stream(levels, max_memory=200_000).pixels(row, column, *pixel_axes(size)):
                expected = grid[:, :, row[chunk], column[chunk]].transpose(1, 2)
                assert torch.allclose(answers, expected, rtol=0, atol=1e-12)


def test_too_little_memory_says_what_a_pixel_needs():
    model, levels = build(ODD)
    model.eval()
    with (
        torch.no_grad(),
        pytest.raises(ValueError, match=r"max_memory of 100 bytes is too little: one pixel needs \d+"),
    ):
        model(levels, max_memory=100)


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
@pytest.mark.parametrize("gradients", [False, True])
def test_no_image_no_answer(resample, gradients):
    model, levels = build(NESTED, resample=resample)
    none = [level[:0] for level in levels]
    with torch.set_grad_enabled(gradients):
        answers = [model.eval()(none, (7, 5)), model.at(none, torch.rand(1, 6, 2)), model.at(none, torch.rand(0, 9, 2))]
    assert [tuple(one.shape) for one in answers] == [(0, 3, 7, 5), (0, 3, 6), (0, 3, 9)]
    if gradients:
        sum(one.sum() for one in answers).backward()
        assert all(not level.grad.any() for level in levels)


def test_statistics_are_those_of_the_whole_grid_in_training():
    model, levels = build(ODD)
    again, _ = build(ODD)
    with torch.no_grad():
        model.train()(levels, (40, 31), max_memory=200_000)
    again.train()(levels, (40, 31))
    assert torch.equal(model.mlp[0].running_mean, again.mlp[0].running_mean)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_constant_codes_have_no_gradient_in_training(precision):
    """On the grid of training the finest level is always asked at cell centres, and the next at one distance from them.

    The norm takes the cosines there out again; what rounding leaves of their gradient Adam would follow, step by step.
    """
    model, levels = build(NESTED)
    model.float().train()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        answers = model([level.detach().float() for level in levels])
    (answers.float() * torch.randn(answers.shape)).sum().backward()
    finest, second, third, _ = model.position.weight.grad.split([code.channels for code in model.codes], 1)
    rest, cosines = second[:, :14], second[:, 14:]  # rest: coordinates and sines
    assert not finest.any()
    assert cosines.abs().max() < 1e-7 * rest.abs().max()
    assert rest.abs().min() > 0 and third.abs().min() > 0


def test_codes_learn_where_the_norm_does_not_take_them_out():
    """Behind a norm that keeps its statistics, or of a single query, a constant counts."""
    for single in (False, True):
        model, levels = build(NESTED)
        model.train(single)
        some = [level[:1, :, :1, :1] for level in levels] if single else levels
        model(some).sum().backward()
        assert model.position.weight.grad[:, :26].any()


def test_new_weights_are_used_at_once():
    model, levels = build(NESTED)
    other, _ = build(NESTED)
    with torch.no_grad():
        model.eval()(levels)
        for parameter in other.parameters():
            parameter.mul_(1.5)
        model.load_state_dict(other.state_dict())
        assert torch.equal(model(levels), other.eval()(levels))


@pytest.mark.parametrize("gradients", [True, False])
def test_levels_of_another_pyramid_are_named(gradients):
    model, levels = build(NESTED)
    model.eval()
    narrow = [*levels[:3], levels[3][:, :2]]
    one_image_less = [levels[0][:1], *levels[1:]]
    with torch.set_grad_enabled(gradients):
        for wrong in (levels[:3], narrow, one_image_less, [level[0] for level in levels]):
            with pytest.raises(ValueError, match=r"of \(5, 6, 7, 8\) channels, one batch; got \["):
                model(wrong)
            with pytest.raises(ValueError, match="one batch; got"):
                model.at(wrong, torch.rand(1, 4, 2))


def test_float32_follows_float64():
    model, levels = build(NESTED)
    model.eval()
    exact = model(levels, (64, 96))
    single = model.float()([level.float() for level in levels], (64, 96))
    assert torch.allclose(single.double(), exact, rtol=0, atol=1e-5)


def test_plain_siblings_are_torch_interpolation():
    for mode, resample in (("nearest-exact", "nearest"), ("bilinear", "bilinear")):
        model, levels = build(NESTED, resample=resample, encoding="none")
        assert model.position is None
        maps = [F.interpolate(level, size=NESTED[0], mode=mode) for level in levels]
        weight = torch.cat([block.weight for block in model.content], 1)
        hidden = F.conv2d(torch.cat(maps, 1), weight, model.content[0].bias)
        assert torch.allclose(model(levels), model.mlp(hidden), rtol=0, atol=1e-12)


def test_blended_answers_are_continuous_across_cell_borders():
    model, levels = build(ODD, resample="bilinear")
    model.eval()
    border = torch.tensor([[[3 / 13 - 1e-9, 0.4], [3 / 13 + 1e-9, 0.4]]], dtype=torch.float64)
    left, right = model.at(levels, border).unbind(-1)
    assert torch.allclose(left, right, rtol=0, atol=1e-6)


def test_autocast_keeps_coordinates_exact():
    model, levels = build(NESTED)
    model.float().eval()
    single = [level.detach().float() for level in levels]
    exact = model(single, (64, 96))
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(single, (64, 96))
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().mean() < 0.02 * exact.std()


@torch.no_grad()
def test_autocast_leaves_double_precision_alone():
    model, levels = build(NESTED)
    model.eval()
    exact = model(levels, (64, 96))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(levels, (64, 96)), exact) and exact.dtype == torch.float64


def test_a_torch_without_onednn_has_no_half_precision_on_the_cpu(monkeypatch):
    """Such builds, as for Apple silicon, lack the very operator that would be asked."""
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    compute_dtype = runpy.run_path(streaming.__file__)["compute_dtype"]
    assert compute_dtype(torch.zeros(1, dtype=torch.bfloat16)) == torch.float32
