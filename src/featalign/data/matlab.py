"""Masks in MATLAB files."""

from __future__ import annotations

import numpy as np

from featalign.data.files import File
from featalign.data.images import Loaded
from featalign.data.reading import check_pixels, naming
from featalign.errors import DataError


def load_mat(file: File, max_pixels: int, *, variable: str) -> Loaded:
    """The matrix ``variable`` of a ``.mat`` file (version 7 or older). Raises DataError naming the file."""
    try:
        import scipy.io
    except ImportError as error:
        raise DataError(f"{file}: .mat files need scipy: pip install 'featalign[mat]'") from error
    with naming(file), file.open("rb") as stream:
        shapes = {name: shape for name, shape, _ in scipy.io.whosmat(stream)}
        if variable not in shapes or len(shapes[variable]) != 2:
            held = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
            raise DataError(f"expected a matrix {variable}, it holds {held}")
        check_pixels(*shapes[variable], max_pixels=max_pixels)
        stream.seek(0)
        values = scipy.io.loadmat(stream, variable_names=[variable])[variable]
        if values.dtype.kind not in "ui" and not np.array_equal(values, np.round(values)):
            raise DataError(f"{variable} holds fractions, expected class ids")
        return Loaded(values if values.dtype.kind in "ui" else values.astype(np.int32))
