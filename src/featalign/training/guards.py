"""What keeps one bad batch, or one full machine, from spoiling a run: found early, told in one line."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from featalign.errors import FeatalignError

MOST_SKIPPED = 50
"""Steps skipped in a row after which a run stops: it no longer learns."""


class NonFiniteGuard:
    """Judges every step before it changes the weights; ``skipped`` counts those that were left out.

    Args:
        network: whose buffers a bad batch has touched by then (running statistics); put back on a skip.
        on_nan: "stop", or "skip" to leave the step out.
    """

    def __init__(self, network: nn.Module, *, on_nan: Literal["stop", "skip"]) -> None:
        self.on_nan = on_nan
        self.skipped = 0
        self._in_a_row = 0
        self._largest: tuple[float, int | None] = (0.0, None)
        self._buffers = list(network.buffers()) if on_nan == "skip" else []
        self._before: list[Tensor] = []

    def begin(self) -> None:
        """A step begins: remember the buffers as they are."""
        self._before = [buffer.clone() for buffer in self._buffers]

    def passed(self, step: int, gradient_norm: float) -> None:
        """Step ``step``, counted from 1 as in the log, was good."""
        self._in_a_row = 0
        if gradient_norm > self._largest[0] and math.isfinite(gradient_norm):
            self._largest = (gradient_norm, step)

    def failed(self, step: int, *, loss: float, files: list[str]) -> None:
        """Step ``step``, counted likewise, has a loss or a gradient that is not finite: put the buffers back, or stop.

        Raises:
            FeatalignError: with the step, the files and the largest gradient norm before, unless steps are skipped.
        """
        what = f"the loss became {loss}" if not math.isfinite(loss) else "the gradient was not finite"
        where = f"at step {step} on {', '.join(files)}"
        if self.on_nan == "stop":
            raise FeatalignError(
                f"{what} {where}; {self._history()}. Lower training.lr, set training.gradient_clip, look at these "
                "files, or go on without such steps: the same command with --on-nan skip"
            )
        for buffer, before in zip(self._buffers, self._before, strict=True):
            buffer.copy_(before)
        self.skipped += 1
        self._in_a_row += 1
        if self._in_a_row >= MOST_SKIPPED:
            raise FeatalignError(
                f"{what} {where}, the {self._in_a_row}th step skipped in a row; {self._history()}. "
                "Lower training.lr or set training.gradient_clip, and start again with --overwrite"
            )

    def state(self) -> dict[str, Any]:
        """Plain values for :meth:`restore`."""
        return {"skipped": self.skipped, "in_a_row": self._in_a_row, "largest": list(self._largest)}

    def restore(self, state: dict[str, Any]) -> None:
        self.skipped, self._in_a_row = state["skipped"], state["in_a_row"]
        self._largest = (state["largest"][0], state["largest"][1])

    def _history(self) -> str:
        norm, step = self._largest
        return "no step before was good" if step is None else f"largest gradient norm before: {norm:.3g} at step {step}"


@contextmanager
def explained() -> Iterator[None]:
    """Failures of the machine, or of what was asked of it, as one line that says what to do.

    Raises:
        FeatalignError: out of memory; a reader process killed; an operation without a deterministic form.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise FeatalignError(
            "the device is out of memory: lower training.batch or data.crop, raise training.accumulate, or use "
            f"training.precision=bf16 ({str(error).splitlines()[0]})"
        ) from error
    except RuntimeError as error:
        reason = _reason(str(error))
        if reason is None:
            raise
        raise FeatalignError(reason) from error


def _reason(message: str) -> str | None:
    first = message.splitlines()[0] if message else ""
    if "does not have a deterministic implementation" in first:
        name = first.split(" does not have")[0]
        return f"training.deterministic: {name} has no deterministic form on this device; train without, or on the CPU"
    if "DataLoader worker" in first:
        return f"a process that reads images died, for want of memory as a rule; lower data.workers ({first})"
    return None


@contextmanager
def deterministic(asked: bool) -> Iterator[None]:
    """Only operations that give the same result every time, if ``asked``; the setting before is put back."""
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        if asked:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
            torch.use_deterministic_algorithms(True)
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
