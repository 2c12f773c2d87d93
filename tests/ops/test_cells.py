"""Cells, offsets and weights against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featalign.ops import (
    cross_cells,
    cross_offsets,
    gather_sum,
    grid_queries,
    grid_taps,
    nearest,
    pixel_axes,
    pixel_axis,
    point_taps,
)

SIDES = st.integers(1, 70)


@given(queries=SIDES, cells=SIDES)
def test_nearest_cell_of_a_grid_is_exact(queries, cells):
    taps = grid_taps(pixel_axis(queries), cells, dtype=torch.float64)
    for i in range(queries):
        position = Fraction(2 * i + 1, 2 * queries) * cells
        cell = int(position)
        assert taps.cell[i].tolist() == [cell]
        assert taps.offset[i].item() == pytest.approx(float(2 * (position - cell) - 1), abs=1e-12)
    assert (taps.weight == 1).all()


@given(sizes=st.tuples(SIDES, SIDES), shape=st.tuples(SIDES, SIDES))
def test_nearest_takes_a_map_at_the_nearest_cells(sizes, shape):
    maps = torch.arange(2.0 * shape[0] * shape[1]).view(1, 2, *shape)
    found = nearest(maps, *pixel_axes(sizes))
    pairs = zip(sizes, shape, strict=True)
    rows, columns = ([int(Fraction(2 * i + 1, 2 * n) * cells) for i in range(n)] for n, cells in pairs)
    assert found.tolist() == [[[[channel[y][x] for x in columns] for y in rows] for channel in maps[0].tolist()]]


@given(queries=SIDES, cells=SIDES)
def test_blended_cells_reproduce_a_linear_function(queries, cells):
    """Weighted cell centres (of the unclamped cells) lie at the query; offsets are the distances to them."""
    taps = grid_taps(pixel_axis(queries), cells, blend=True, dtype=torch.float64)
    centre = (torch.arange(queries, dtype=torch.float64) + 0.5) / queries * cells
    assert torch.allclose(taps.weight.sum(-1), torch.ones(queries, dtype=torch.float64))
    assert (taps.weight >= 0).all() and (taps.weight <= 1).all()
    assert torch.allclose((taps.weight * taps.offset).sum(-1), torch.zeros(queries, dtype=torch.float64), atol=1e-9)
    inside = (centre >= 0.5) & (centre <= cells - 0.5)
    linear = ((taps.cell + 0.5) * taps.weight).sum(-1)
    assert torch.allclose(linear[inside], centre[inside])
    assert torch.allclose(linear, centre.clamp(0.5, cells - 0.5))


@given(queries=SIDES, cells=SIDES, blend=st.booleans())
def test_offsets_repeat_with_the_period(queries, cells, blend):
    taps = grid_taps(pixel_axis(queries), cells, blend=blend)
    period = pixel_axis(queries).period(cells)
    assert queries % period == 0
    assert torch.equal(taps.offset, taps.offset[:period].repeat(queries // period, 1))
    assert torch.equal(taps.weight, taps.weight[:period].repeat(queries // period, 1))


@given(queries=SIDES, cells=SIDES, blend=st.booleans(), start=SIDES, stop=SIDES)
def test_a_band_is_a_part_of_the_grid(queries, cells, blend, start, stop):
    start, stop = sorted((start % (queries + 1), stop % (queries + 1)))
    band = grid_taps(pixel_axis(queries).part(start, stop), cells, blend=blend)
    for part, whole in zip(band, grid_taps(pixel_axis(queries), cells, blend=blend), strict=True):
        assert torch.equal(part, whole[start:stop])


@pytest.mark.parametrize("blend", [False, True])
def test_points_on_grid_centres_are_the_grid(blend):
    centres = (torch.arange(40, dtype=torch.float64) + 0.5) / 40
    for got, expected in zip(
        point_taps(centres, 9, blend=blend), grid_taps(pixel_axis(40), 9, blend=blend, dtype=torch.float64), strict=True
    ):
        assert torch.allclose(got.double(), expected.double(), atol=1e-12)


def test_points_at_and_beyond_the_edges_take_border_cells():
    taps = point_taps(torch.tensor([-0.1, 0.0, 1.0, 1.1]), 5)
    assert taps.cell.flatten().tolist() == [0, 0, 4, 4]
    assert taps.offset.flatten().tolist() == pytest.approx([-2.0, -1.0, 1.0, 2.0], abs=1e-5)


@pytest.mark.parametrize("blend", [False, True])
def test_points_far_away_take_the_cell_on_their_side(blend):
    far = torch.tensor([-1e30, -1e19, -40, 41, 1e19, 1e30])
    taps = point_taps(far, 7, blend=blend)
    assert [set(cells) for cells in taps.cell.tolist()] == [{0}] * 3 + [{6}] * 3
    assert torch.allclose(taps.weight.sum(-1), torch.ones(6))


def test_cross_orders_rows_first():
    rows, columns = (
        grid_taps(pixel_axis(2), 4, blend=True).unsqueeze(1),
        grid_taps(pixel_axis(3), 5, blend=True).unsqueeze(0),
    )
    cells, shares = cross_cells(rows, columns, width=5)
    offsets = cross_offsets(rows, columns)
    assert cells.shape == shares.shape == (2, 3, 4)
    assert offsets.shape == (2, 3, 4, 2)
    for tap in range(4):
        down, across = divmod(tap, 2)
        assert cells[1, 2, tap] == rows.cell[1, 0, down] * 5 + columns.cell[0, 2, across]
        assert offsets[1, 2, tap].tolist() == [rows.offset[1, 0, down], columns.offset[0, 2, across]]


def test_nested_levels_share_few_distinct_offsets():
    queries = grid_queries(*pixel_axes((64, 96)), [(64, 96), (32, 48), (16, 24), (8, 12)])
    assert [offset.shape[1] for offset in queries.offsets] == [64] * 4
    assert queries.phase.max() == 63


@pytest.mark.parametrize("weighted", [False, True])
def test_gather_sum_is_a_sum_of_rows(weighted):
    generator = torch.Generator().manual_seed(0)
    tables = [torch.randn(batch, rows, 4, dtype=torch.float64, generator=generator) for batch, rows in ((3, 7), (1, 5))]
    cells = [torch.randint(7, (1, 6, 2), generator=generator), torch.randint(5, (3, 6, 1), generator=generator)]
    weights = [torch.rand(c.shape, dtype=torch.float64, generator=generator) for c in cells] if weighted else None
    got = gather_sum(tables, cells, weights)
    for b in range(3):
        for n in range(6):
            total = torch.zeros(4, dtype=torch.float64)
            for i, (table, cell) in enumerate(zip(tables, cells, strict=True)):
                for t in range(cell.shape[2]):
                    c = min(b, cell.shape[0] - 1)
                    share = 1 if weights is None else weights[i][c, n, t]
                    total += share * table[min(b, table.shape[0] - 1), cell[c, n, t]]
            assert torch.allclose(got[b, n], total)


def test_gather_sum_has_gradients():
    tables = [torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    cells = [torch.randint(5, (1, 4, 2)), torch.randint(5, (2, 4, 1))]
    weights = [torch.rand(c.shape, dtype=torch.float64) for c in cells]
    assert torch.autograd.gradcheck(lambda *rows: gather_sum(rows, cells, weights), tables)
