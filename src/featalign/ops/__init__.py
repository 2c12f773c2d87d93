"""Functions for the papers' equations: no parameters, no state, no files."""

from featalign.ops.carafe import carafe
from featalign.ops.cells import Taps, cross_cells, cross_offsets, grid_period, grid_taps, pixel_centers, point_taps
from featalign.ops.deform import deform_conv
from featalign.ops.gather import gather_sum
from featalign.ops.queries import Queries, grid_queries, point_queries
from featalign.ops.sampling import sample_at
from featalign.ops.warp import warp

__all__ = [
    "Queries",
    "Taps",
    "carafe",
    "cross_cells",
    "cross_offsets",
    "deform_conv",
    "gather_sum",
    "grid_period",
    "grid_queries",
    "grid_taps",
    "pixel_centers",
    "point_queries",
    "point_taps",
    "sample_at",
    "warp",
]
