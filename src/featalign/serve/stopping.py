"""Running networks are stopped when nobody waits for their answer any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from torch.nn.modules.module import register_module_forward_pre_hook

from featalign.serve.problems import GoneError


@contextmanager
def stopping(gone: Callable[[], bool]) -> Iterator[None]:
    """In this block, and in its thread alone, ``gone()`` is asked before every layer of every network.

    So layers, windows, views and most bands are places to stop at, and none of them needs to know. An exported file is
    stopped between its runs, of which every window is one.

    Raises:
        GoneError: out of the layer that was called, once ``gone()`` is true.
    """
    thread = get_ident()

    def check(layer: Any, inputs: Any) -> None:
        if get_ident() == thread and gone():
            raise GoneError("nobody waits for this answer any more")

    hook = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        hook.remove()
