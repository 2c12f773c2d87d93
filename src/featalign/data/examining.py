"""Reading one pair as training would, and going on after the first error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from featalign.data.dataset import check_sizes
from featalign.data.files import File
from featalign.data.images import Loaded, load_image
from featalign.data.labels import check_palette, count_labels
from featalign.data.layouts import Labels
from featalign.data.pairs import Pair
from featalign.data.reading import UnreadableError
from featalign.errors import DataError
from featalign.spec import Depth


@dataclass
class Examined:
    """What was learnt from one pair. Faults: file, message, and whether it is this file's own."""

    pair: Pair
    faults: list[tuple[File, str, bool]] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    palette: bool = False
    orientations: tuple[int, int] = (1, 1)

    def blame(self, file: File, error: DataError) -> None:
        self.faults.append((file, str(error).removeprefix(f"{file}: "), isinstance(error, UnreadableError)))


@dataclass(frozen=True)
class Examiner:
    """Reads a pair as training would, but goes on after the first error."""

    labels: Labels
    channels: int
    depth: Depth
    max_pixels: int

    def __call__(self, pair: Pair) -> Examined:
        examined = Examined(pair)
        image = self._try(examined, pair.image, self._image)
        mask = self._try(examined, pair.mask, self._mask)
        examined.orientations = (image.orientation if image else 1, mask.orientation if mask else 1)
        try:
            if mask is not None:
                examined.palette = mask.palette is not None
                examined.counts = count_labels(mask.pixels)
                check_palette(mask.palette, examined.counts, self.labels.map)  # explains unknown values, too
                self.labels.map.check(examined.counts)
            if image is not None and mask is not None:
                check_sizes(pair, image.pixels, mask.pixels)
        except DataError as error:
            examined.blame(pair.mask, error)
        return examined

    def _image(self, file: File) -> Loaded:
        return load_image(file, channels=self.channels, depth=self.depth, max_pixels=self.max_pixels)

    def _mask(self, file: File) -> Loaded:
        return self.labels.read(file, self.max_pixels)

    @staticmethod
    def _try(examined: Examined, file: File, load: Callable[[File], Loaded]) -> Loaded | None:
        try:
            return load(file)
        except DataError as error:
            examined.blame(file, error)
            return None
