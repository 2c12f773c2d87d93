"""Rules for arithmetic of sizes that PyTorch's ONNX exporter gets wrong."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import onnx_ir
import torch
from onnxscript import opset20

op: Any = opset20  # traced: what goes in and comes out are values of the graph, not the arrays of its types
_WHOLE = (onnx_ir.DataType.INT64, onnx_ir.DataType.INT32)


def remainder(self: Any, other: Any) -> Any:
    """By a number that is a size, which the exporter's own rule expects to know."""
    return op.Mod(self, op.CastLike(other, self))


def floor_divide(self: Any, other: Any) -> Any:
    """Of two sizes, downwards: the exporter's own rule divides towards zero."""
    return op.Div(op.Sub(self, op.Mod(self, other)), other)


def divide(self: Any, other: Any, rounding_mode: str | None = None) -> Any:
    """In whole numbers where both are: the exporter's own rule divides in float32, which is off beyond 2^24."""
    other = op.CastLike(other, self)
    if self.dtype in _WHOLE and rounding_mode == "floor":
        return floor_divide(self, other)
    if rounding_mode == "floor":
        return op.Floor(op.Div(self, other))
    raise NotImplementedError(f"division with rounding_mode {rounding_mode!r}")


RULES: dict[Any, Callable[..., Any]] = {
    operator.floordiv: floor_divide,
    torch.ops.aten.remainder.Scalar: remainder,
    torch.ops.aten.div.Tensor_mode: divide,
    torch.ops.aten.div.Scalar_mode: divide,
}
