"""Functions for the papers' equations: no parameters, no state, no files."""

from featalign.ops.axes import WHOLE, Box, PixelAxis, checked_box, checked_size, pixel_axes, pixel_axis
from featalign.ops.carafe import carafe
from featalign.ops.cells import Taps, cross_cells, cross_offsets, grid_taps, nearest, point_taps
from featalign.ops.deform import deform_conv
from featalign.ops.gather import gather_rows, gather_sum
from featalign.ops.precision import coordinate_dtype, result_dtype
from featalign.ops.products import pointwise, product
from featalign.ops.queries import (
    Queries,
    Window,
    answers_at,
    grid_queries,
    phases,
    pixel_queries,
    point_queries,
    windows,
)
from featalign.ops.resize import LinearTaps, linear_taps, linear_taps_of, resize, resize_at_once, resize_coarse
from featalign.ops.sampling import sample_at
from featalign.ops.uncertain import class_margin, draw_uncertain, mask_margin
from featalign.ops.warp import warp

__all__ = [
    "WHOLE",
    "Box",
    "LinearTaps",
    "PixelAxis",
    "Queries",
    "Taps",
    "Window",
    "answers_at",
    "carafe",
    "checked_box",
    "checked_size",
    "class_margin",
    "coordinate_dtype",
    "cross_cells",
    "cross_offsets",
    "deform_conv",
    "draw_uncertain",
    "gather_rows",
    "gather_sum",
    "grid_queries",
    "grid_taps",
    "linear_taps",
    "linear_taps_of",
    "mask_margin",
    "nearest",
    "phases",
    "pixel_axes",
    "pixel_axis",
    "pixel_queries",
    "point_queries",
    "point_taps",
    "pointwise",
    "product",
    "resize",
    "resize_at_once",
    "resize_coarse",
    "result_dtype",
    "sample_at",
    "warp",
    "windows",
]
