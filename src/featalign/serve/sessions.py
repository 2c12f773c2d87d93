"""Encoded images under an id, for a while."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from featalign.models.network import Features
from featalign.serve.problems import TooLargeError, UnknownError


@dataclass(frozen=True)
class Kept:
    """An image as the model of this name has encoded it; ``size``: (height, width) of the image itself."""

    model: str
    features: Features
    size: tuple[int, int]

    @property
    def bytes(self) -> int:
        """Memory of the features."""
        return sum(level.nbytes for level in self.features.maps)


class Sessions:
    """At most ``max_bytes`` of encoded images, each for ``keep_for`` seconds after it was last asked."""

    def __init__(self, *, keep_for: float, max_bytes: int, clock: Callable[[], float] = monotonic) -> None:
        self.keep_for = keep_for
        self.max_bytes = max_bytes
        self._clock = clock
        self._kept: OrderedDict[str, tuple[Kept, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Memory of everything that is kept."""
        return sum(kept.bytes for kept, _ in self._kept.values())

    def put(self, kept: Kept) -> str:
        """Keep it; its new id, which cannot be guessed. Raises TooLargeError for more than all may take together."""
        if kept.bytes > self.max_bytes:
            raise TooLargeError(
                f"image: takes {kept.bytes / 2**20:.0f} MiB encoded, more than the {self.max_bytes / 2**20:.0f} that "
                "are kept; send a smaller one, or set input_size"
            )
        self.expire()
        while self.bytes + kept.bytes > self.max_bytes:
            self._kept.popitem(last=False)
        name = secrets.token_urlsafe(16)
        self._kept[name] = kept, self._clock()
        return name

    def get(self, name: str) -> Kept:
        """What is kept under the id, whose time begins anew. Raises UnknownError."""
        self.expire()
        if name not in self._kept:
            raise UnknownError(
                f"no image is kept under this id (any more: {self.keep_for:.0f} s after it was last asked, or when "
                "room is needed); send it again to /v1/images"
            )
        kept, _ = self._kept[name]
        self._kept[name] = kept, self._clock()
        self._kept.move_to_end(name)
        return kept

    def drop(self, name: str) -> None:
        """Forget it now. Raises UnknownError."""
        self.get(name)
        del self._kept[name]

    def expire(self) -> None:
        """Forget what nobody has asked for long enough."""
        oldest = self._clock() - self.keep_for
        while self._kept and next(iter(self._kept.values()))[1] < oldest:
            self._kept.popitem(last=False)
