"""Which values occur in a mask, and what to do about those that are no class."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from featalign.errors import DataError
from featalign.spec import Classes


def count_labels(mask: NDArray[np.integer]) -> dict[int, int]:
    """``{value: pixels}`` for the values that occur."""
    if mask.dtype == np.uint8:
        counts = np.bincount(mask.ravel(), minlength=256)
        return {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
    values, counts = np.unique(mask, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def check_labels(mask: NDArray[np.integer], classes: Classes) -> None:
    """Raises DataError with the values, how often they occur and what to do, if ``mask`` holds any that is no class."""
    strange = (mask >= len(classes)) & (mask != classes.ignore_index)
    if strange.any() or (mask.dtype.kind == "i" and mask.min() < 0):
        check_counts(count_labels(mask), classes)


def check_counts(counts: Mapping[int, int], classes: Classes) -> None:
    """:func:`check_labels` on the counts of a mask."""
    outside = outside_values(counts, classes)
    if not outside:
        return
    listed = ", ".join(f"{value} ({pixels} pixels)" for value, pixels in list(outside.items())[:5])
    more = f" and {len(outside) - 5} more" if len(outside) > 5 else ""
    raise DataError(
        f"values outside the classes: {listed}{more}; expected 0 … {len(classes) - 1}, or {classes.ignore_index} "
        f"for pixels to ignore; {_cure(counts, classes)}"
    )


def outside_values(counts: Mapping[int, int], classes: Classes) -> dict[int, int]:
    """The part of ``counts`` that is neither a class nor ``ignore_index``."""
    ids = range(len(classes))
    return {value: n for value, n in counts.items() if value not in ids and value != classes.ignore_index}


def _cure(counts: Mapping[int, int], classes: Classes) -> str:
    if set(counts) <= {0, 255}:
        return "masks of 0 and 255: write the foreground as 1"
    if set(outside_values(counts, classes)) == {len(classes)}:
        return (
            "if the ids count from 1, subtract 1 from each of them; "
            f"0, where it means unlabelled, becomes {classes.ignore_index}"
        )
    return f"add the missing classes to classes.json, or write these pixels as {classes.ignore_index}"
