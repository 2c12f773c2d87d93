"""Functions for the papers' equations: no parameters, no state, no files."""

from featalign.ops.cells import Taps, cross_cells, cross_offsets, grid_period, grid_taps, pixel_centers, point_taps
from featalign.ops.gather import gather_sum
from featalign.ops.queries import Queries, grid_queries, point_queries

__all__ = [
    "Queries",
    "Taps",
    "cross_cells",
    "cross_offsets",
    "gather_sum",
    "grid_period",
    "grid_queries",
    "grid_taps",
    "pixel_centers",
    "point_queries",
    "point_taps",
]
